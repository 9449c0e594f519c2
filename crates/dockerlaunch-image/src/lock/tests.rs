//! Lockfiles: what is written is read, and what is wrong is told.

use super::*;

fn package(name: &str, version: &str) -> LockedPackage {
    LockedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        path: format!("pool/main/{name}_{version}.deb"),
        size: 7,
        sha256: Digest::of(version.as_bytes()),
    }
}

fn lock(packages: Vec<LockedPackage>) -> Lock {
    Lock {
        version: VERSION,
        suite: "forky".to_owned(),
        spec: Spec::digest(),
        components: vec!["engine".to_owned()],
        engine: None,
        images: vec![LockedImage { architecture: "amd64".to_owned(), packages }],
    }
}

fn refused(text: &str) -> String {
    Lock::parse(Path::new("image.lock"), text).expect_err(text).to_string()
}

#[test]
fn it_is_read_as_it_was_written() {
    let lock = lock(vec![package("docker.io", "28.5.2+dfsg4-1"), package("libc6", "2.42-1")]);
    assert_eq!(Lock::parse(Path::new("x"), &lock.to_text()).unwrap(), lock);
}

#[test]
fn what_is_damaged_is_told_with_its_place() {
    let text = lock(vec![package("docker.io", "28"), package("runc", "1")]).to_text();
    for (from, to, expected) in [
        ("version = 1\n", "version = 2\n", "image.lock:4:11: version 2 of the lockfile is unknown"),
        ("size = 7", "size = -1", "image.lock:17:8: invalid value"),
        ("size = 7", "size = 99999999999999", "are no size of a package"),
        ("pool/main/docker", "../../docker", "is no path below an archive's base"),
        ("pool/main/docker", "/etc/docker", "is no path below an archive's base"),
        ("pool/main/docker", "pool/x?y#", "is no path below an archive's base"),
        ("\"runc\"", "\"docker.io\"", "the package `docker.io` is there twice"),
        ("\"runc\"", "\"ru\\u001b[2Jnc\"", "`ru\\u{1b}[2Jnc` is no name"),
        ("name = \"runc\"", "nmae = \"runc\"", "unknown field `nmae`"),
        ("sha256 = \"", "sha256 = \"x", "is not a SHA-256 digest"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = refused(&text.replacen(from, to, 1));
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("image.lock:"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error}");
    }
    let half = &text[..text.len() / 2];
    assert!(refused(half).starts_with("image.lock:"), "{}", refused(half));
}

#[test]
fn a_build_for_something_else_is_refused() {
    let lock = lock(vec![package("runc", "1")]);
    let told = |arch, components: &[&str]| {
        let components: Vec<String> = components.iter().map(|&name| name.to_owned()).collect();
        lock.packages(arch, &components, None, &[]).map(|packages| packages.len()).map_err(|e| e.to_string())
    };
    assert_eq!(told(Arch::Amd64, &["engine"]), Ok(1));
    assert_eq!(
        told(Arch::Arm64, &["engine"]),
        Err("the lockfile is for the architecture amd64, and the build is for arm64".to_owned())
    );
    assert!(told(Arch::Amd64, &["engine", "cli"]).unwrap_err().contains("the components engine, and"));
    let components = ["engine".to_owned()];
    let error = lock.packages(Arch::Amd64, &components, Some(Digest::of(b"")), &[]).unwrap_err();
    assert!(error.to_string().starts_with("the lockfile is for the engine of the suite, and"), "{error}");
    let old = Lock { spec: Digest::of(b""), ..lock.clone() };
    let error = old.packages(Arch::Amd64, &["engine".to_owned()], None, &[]).unwrap_err();
    assert!(error.to_string().contains("another release"), "{error}");
}

#[test]
fn changes_are_told_a_line_each() {
    let old = lock(vec![package("docker.io", "1-1"), package("libold1", "1"), package("runc", "1")]);
    let new = lock(vec![package("docker.io", "1-2"), package("libnew2", "3"), package("runc", "1")]);
    assert_eq!(old.changes(&new), ["docker.io 1-1 -> 1-2", "+ libnew2 3", "- libold1 1"]);
    assert_eq!(old.changes(&old), Vec::<String>::new());
    let fewer = Lock { components: vec![], ..new.clone() };
    assert_eq!(new.changes(&fewer), ["- component engine"]);
}
