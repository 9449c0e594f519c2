//! Where outputs go, and what they must not take away.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use dockerlaunch_image::{
    BuildError, BuildRequest, Class, Digest, EmitError, Event, ExtraFile, Hints as _, Output, Preload,
    Progress, Silent, Source, build, contents, tree,
};
use repository::{FORKY, Fixture, every_output, image_archive};
use serde_json::{Value, json};

const CERTIFICATES: &str = "out/usr/lib/dockerlaunch/etc/ssl/certs";

/// Every file below a directory, and what is in it.
fn all_files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            found.extend(all_files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
    }
    found
}

/// What stands at `out` is left as it is, before anything is fetched for its replacement.
fn is_kept(fixture: &Fixture, request: &BuildRequest, what: &str) {
    let before = all_files(&fixture.path("out"));
    fixture.server.take_requests();
    let error = build(request, &Silent).expect_err(what);
    assert!(error.to_string().contains("holds something that a build did not write"), "{what}: {error}");
    assert!(!error.hints().is_empty());
    assert_eq!(fixture.server.take_requests(), [], "{what}");
    assert_eq!(all_files(&fixture.path("out")), before, "{what}");
    assert_eq!(fixture.left_over(), ["out"]);
}

#[test]
fn a_former_output_is_replaced() {
    let fixture = Fixture::new();
    for output in [Output::Dir(fixture.path("out")), Output::Oci(fixture.path("out"))] {
        for epoch in [0, 1_700_000_000, 1_700_000_000] {
            let outputs = vec![output.clone()];
            build(&BuildRequest { outputs, epoch, ..fixture.request() }, &Silent).unwrap();
        }
        assert_eq!(fixture.left_over(), ["out"]);
        fs::remove_dir_all(fixture.path("out")).unwrap();
        fs::create_dir(fixture.path("out")).unwrap();
    }
}

#[test]
fn a_directory_that_was_added_to_is_kept() {
    let fixture = Fixture::new();
    let request = fixture.request();
    let bundle = format!("{CERTIFICATES}/ca-certificates.crt");
    let changes: [(&str, &dyn Fn()); 5] = [
        ("a file beside it", &|| fs::write(fixture.path("out/precious"), "x").unwrap()),
        ("a file within", &|| fs::write(fixture.path(CERTIFICATES).join("own.crt"), "x").unwrap()),
        ("a directory within", &|| fs::create_dir(fixture.path("out/usr/share")).unwrap()),
        ("another content", &|| fs::write(fixture.path(&bundle), "own\n").unwrap()),
        ("a link in a file's place", &|| {
            fs::remove_file(fixture.path(&bundle)).unwrap();
            std::os::unix::fs::symlink("elsewhere", fixture.path(&bundle)).unwrap();
        }),
    ];
    for (what, change) in changes {
        build(&request, &Silent).unwrap();
        change();
        is_kept(&fixture, &request, what);
        fs::remove_dir_all(fixture.path("out")).unwrap();
    }
    // Only the name is ours.
    let private = fixture.path("out/usr/lib/dockerlaunch");
    fs::create_dir_all(&private).unwrap();
    fs::write(private.join("image.json"), "{}").unwrap();
    is_kept(&fixture, &request, "a directory with a file of the same name");
}

/// A layout whose configuration is another one; returns the descriptor of its manifest.
fn derive(layout: &Path, change: impl Fn(&mut Value)) -> Value {
    let blobs = layout.join("blobs/sha256");
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let blob = |descriptor: &Value| {
        blobs.join(descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let write = |descriptor: &mut Value, document: &Value| {
        let bytes = serde_json::to_vec(document).unwrap();
        fs::write(blobs.join(Digest::of(&bytes).hex()), &bytes).unwrap();
        descriptor["digest"] = json!(Digest::of(&bytes));
        descriptor["size"] = json!(bytes.len());
    };
    let mut entry = read(&layout.join("index.json"))["manifests"][0].clone();
    let mut manifest = read(&blob(&entry));
    let mut config = read(&blob(&manifest["config"]));
    fs::remove_file(blob(&manifest["config"])).unwrap();
    fs::remove_file(blob(&entry)).unwrap();
    change(&mut config);
    write(&mut manifest["config"], &config);
    write(&mut entry, &manifest);
    entry
}

fn write_index(layout: &Path, manifests: &[Value]) {
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn a_layout_that_is_not_a_builds_alone_is_kept() {
    let fixture = Fixture::new();
    let out = fixture.path("out");
    let request = BuildRequest { outputs: vec![Output::Oci(out.clone())], ..fixture.request() };
    let rewritten = |change: &dyn Fn(&mut Value)| write_index(&out, &[derive(&out, change)]);
    let changes: [(&str, &dyn Fn()); 6] = [
        ("a file beside it", &|| fs::write(out.join("notes"), "x").unwrap()),
        ("a blob that nothing names", &|| {
            fs::write(out.join("blobs/sha256").join(Digest::of(b"x").hex()), "x").unwrap();
        }),
        ("an image of another maker", &|| {
            rewritten(&|config| config["config"]["Labels"] = json!({"maker": "somebody"}));
        }),
        ("an image made from ours", &|| {
            rewritten(&|config| {
                config["history"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"created_by": "ENV A=b", "empty_layer": true}));
            });
        }),
        ("an image made from ours, in one layer", &|| {
            rewritten(&|config| config["history"] = json!([{"created_by": "squashed"}]));
        }),
        ("a second image", &|| {
            let entry = derive(&out, |_| ());
            write_index(&out, &[entry.clone(), entry]);
        }),
    ];
    for (what, change) in changes {
        build(&request, &Silent).unwrap();
        change();
        is_kept(&fixture, &request, what);
        fs::remove_dir_all(&out).unwrap();
    }
    build(&request, &Silent).unwrap();
    rewritten(&|_| ());
    build(&request, &Silent).expect("the changes above were what counted");
}

/// Puts a file into the former output once the next one is being written.
struct Intruder {
    out: PathBuf,
    done: AtomicBool,
}

impl Progress for Intruder {
    fn event(&self, _event: Event<'_>) {}

    fn cancelled(&self) -> bool {
        let mut beside = fs::read_dir(self.out.parent().unwrap()).unwrap().flatten();
        let writing = beside.any(|entry| entry.file_name().to_string_lossy().starts_with(".from-scratch-"));
        if writing && !self.done.swap(true, Ordering::Relaxed) {
            fs::write(self.out.join("usr/precious"), "x").unwrap();
        }
        false
    }
}

#[test]
fn what_was_added_during_the_build_is_kept() {
    let fixture = Fixture::new();
    build(&fixture.request(), &Silent).unwrap();
    let intruder = Intruder { out: fixture.path("out"), done: AtomicBool::new(false) };
    let error = build(&fixture.request(), &intruder).unwrap_err();
    assert!(matches!(error, BuildError::Emit(EmitError::Exists { .. })), "{error:?}");
    assert!(fixture.path("out/usr/precious").exists());
    assert_eq!(fixture.left_over(), ["out"]);
}

#[test]
fn a_file_does_not_replace_a_directory_or_a_link() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("out")).unwrap();
    std::os::unix::fs::symlink("out", fixture.path("link")).unwrap();
    for kind in [Output::Tar, Output::Docker, Output::Initramfs] {
        for name in ["out", "link"] {
            let request = BuildRequest { outputs: vec![kind(fixture.path(name))], ..fixture.request() };
            let error = build(&request, &Silent).unwrap_err();
            assert!(error.to_string().contains("is not a regular file"), "{error}");
        }
    }
    assert_eq!(fixture.server.take_requests(), []);
}

#[test]
fn outputs_in_each_others_way_are_refused() {
    let fixture = Fixture::new();
    let at = |name: &str| fixture.path(name);
    for outputs in [
        [Output::Tar(at("x")), Output::Docker(at("x"))],
        [Output::Dir(at("a")), Output::Tar(at("a/b"))],
        [Output::Oci(at("new/./b")), Output::Oci(at("new/b/c/.."))],
    ] {
        let request = BuildRequest { outputs: outputs.to_vec(), ..fixture.request() };
        let error = build(&request, &Silent).unwrap_err();
        assert!(matches!(error, BuildError::Emit(EmitError::SamePlace { .. })), "{error:?}");
        for output in outputs {
            assert!(error.to_string().contains(&output.to_string()), "{error}");
        }
        assert_eq!(error.hints(), ["give each output a path of its own"]);
    }
    assert_eq!(fixture.server.take_requests(), [], "nothing was fetched for it");
    assert_eq!(fixture.left_over(), Vec::<String>::new());
}

#[test]
fn what_a_killed_build_left_is_cleared_away() {
    let fixture = Fixture::new();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let make = |name: &str, time: SystemTime| {
        let path = fixture.path(name);
        if name.ends_with('d') {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("part"), "x").unwrap();
        } else {
            fs::write(&path, "x").unwrap();
        }
        let file = File::open(&path).unwrap();
        file.set_modified(time).unwrap();
        file
    };
    drop(make(".from-scratch-unfinished-Stale1Stale1", long_ago));
    drop(make(".from-scratch-unfinished-StaleStaleSd", long_ago));
    drop(make(".from-scratch-unfinished-notes", long_ago));
    drop(make(".from-scratch-backup", long_ago));
    drop(make(".from-scratch-unfinished-Fresh1Fresh1", SystemTime::now()));
    let used = make(".from-scratch-unfinished-Used1Used1Ud", long_ago);
    used.lock().unwrap();
    build(&fixture.request(), &Silent).unwrap();
    assert_eq!(
        fixture.left_over(),
        [
            ".from-scratch-backup",
            ".from-scratch-unfinished-Fresh1Fresh1",
            ".from-scratch-unfinished-Used1Used1Ud",
            ".from-scratch-unfinished-notes",
            "out"
        ]
    );
}

#[test]
fn the_contents_say_where_each_file_comes_from() {
    let fixture = Fixture::new();
    let contents = contents(&fixture.request(), &Silent).unwrap();
    assert_eq!(fixture.left_over(), Vec::<String>::new(), "nothing is written");
    let [bundle, description, licence] = contents.entries.as_slice() else {
        panic!("{:?}", contents.entries)
    };
    assert_eq!(bundle.path, "usr/lib/dockerlaunch/etc/ssl/certs/ca-certificates.crt");
    assert_eq!(bundle.class, Class::File);
    let origin = bundle.origin.as_ref().unwrap();
    assert_eq!(origin.component, "ca-certificates");
    assert_eq!(origin.reason.as_ref().unwrap().feature, "pull and push");
    let Source::Package { name, version, digest, paths } = &origin.source else {
        panic!("{:?}", origin.source)
    };
    assert_eq!((name.as_str(), version.as_str()), ("ca-certificates", "1"));
    assert_eq!(*digest, contents.packages[0].digest);
    let in_order =
        ["a.crt", "b.crt", "z.crt"].map(|name| format!("usr/share/ca-certificates/mozilla/{name}"));
    assert_eq!(paths, &in_order);
    assert_eq!(
        (description.class, &description.origin.as_ref().unwrap().source),
        (Class::Metadata, &Source::Build)
    );
    assert_eq!((licence.path.as_str(), licence.class), ("usr/lib/dockerlaunch/licences", Class::Licence));
    let report = build(&fixture.request(), &Silent).unwrap();
    assert_eq!(report.tree_digest, contents.tree_digest);
}

#[test]
fn extra_files_lie_where_the_user_wants_them() {
    let fixture = Fixture::new();
    let extra = |to: &str, text: &[u8]| ExtraFile {
        to: to.to_owned(),
        mode: 0o600,
        content: tree::Content::new(text),
    };
    let daemon = extra("etc/docker/daemon.json", b"{}");
    let request = BuildRequest { extra: vec![daemon.clone()], ..fixture.request() };
    for _ in 0..2 {
        build(&request, &Silent).unwrap();
    }
    assert_eq!(fs::read(fixture.path("out/etc/docker/daemon.json")).unwrap(), b"{}");
    let bundle = "usr/lib/dockerlaunch/etc/ssl/certs/ca-certificates.crt";
    let error = |extra: ExtraFile| {
        let error = build(&BuildRequest { extra: vec![extra], ..fixture.request() }, &Silent).unwrap_err();
        assert!(!error.hints().is_empty());
        error.to_string()
    };
    assert_eq!(
        error(extra(bundle, b"mine")),
        format!(
            "two different files were to be `/{bundle}`: one of `ca-certificates`, the other of `extra files`"
        )
    );
    let dynamic = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(error(extra("hook", &dynamic)), "the extra file `/hook` is not a static executable");
}

#[test]
fn a_file_that_a_package_lacks_is_told_with_the_nearest() {
    let fixture = Fixture::new();
    // The archive of the tests has one package under all names.
    let request = BuildRequest { only: Some(vec!["xz".to_owned()]), ..fixture.request() };
    let error = build(&request, &Silent).unwrap_err();
    assert_eq!(error.to_string(), "package xz-utils has no file `/usr/bin/xz`");
    assert_eq!(error.hints()[0], "the nearest that xz-utils has is `/usr/bin/xzz`");
    assert_eq!(fixture.left_over(), Vec::<String>::new());
}

#[test]
fn an_archive_that_is_changed_meanwhile_is_in_no_output() {
    let fixture = Fixture::of(&FORKY);
    let path = fixture.path("image.tar");
    for output in every_output(&fixture.path("")) {
        let mut archive = image_archive(3_000_000);
        fs::write(&path, &archive).unwrap();
        let preload = vec![Preload::read(&path).unwrap()];
        archive[1_000_000] = 1;
        fs::write(&path, &archive).unwrap();
        let request = BuildRequest { outputs: vec![output.clone()], preload, ..fixture.request() };
        let error = build(&request, &Silent).expect_err(&output.to_string());
        assert!(error.to_string().ends_with("image.tar` was changed while the image was built"), "{error}");
        assert!(error.hints()[0].contains("as they are"), "{:?}", error.hints());
        assert!(!output.path().exists(), "{output}");
    }
}
