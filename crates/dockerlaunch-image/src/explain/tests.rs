use super::*;
use crate::Digest;
use crate::contents::Class;
use crate::error::Hints as _;
use crate::origin::{Origin, Source};
use crate::spec::Reason;

fn reason(feature: &str) -> Reason {
    let reason = serde_json::json!({
        "feature": feature, "why": "It must.", "leave-out": "no", "proof": "a scenario"
    });
    serde_json::from_value(reason).unwrap()
}

fn file(path: &str, size: u64, origin: Origin) -> Entry {
    let class = if origin.component == DESCRIPTION { Class::Metadata } else { Class::File };
    Entry {
        path: format!("{PRIVATE_DIR}/{path}"),
        class,
        mode: 0o755,
        size,
        digest: Some(Digest::of(path.as_bytes())),
        target: None,
        origin: Some(origin),
    }
}

fn link(path: &str, target: &str, origin: Origin) -> Entry {
    let entry = file("", 0, origin);
    Entry {
        path: path.to_owned(),
        class: Class::Link,
        digest: None,
        target: Some(target.to_owned()),
        ..entry
    }
}

fn package(component: &str, name: &str, path: &str) -> Origin {
    let source = Source::Package {
        name: name.to_owned(),
        version: "1.0-1".to_owned(),
        digest: Digest::of(name.as_bytes()),
        paths: vec![path.to_owned()],
    };
    Origin { component: component.to_owned(), source, reason: Some(reason("engine")), needed_by: vec![] }
}

fn library(name: &str, needed_by: &[&str]) -> Origin {
    let needed_by = needed_by.iter().map(|path| format!("{PRIVATE_DIR}/{path}")).collect();
    Origin { reason: None, needed_by, ..package(LIBRARIES, name, "usr/lib/x.so") }
}

/// dockerd needs libc; ps needs libproc2, which needs libsystemd and libc.
fn example() -> Contents {
    let applet = Origin::of("launcher", Source::Component, &reason("kernel modules"));
    let engine = package("engine", "docker.io", "usr/sbin/dockerd");
    let public = Origin { source: Source::Component, ..engine.clone() };
    let mut entries = vec![
        link("usr/bin/dockerd", "../lib/dockerlaunch/bin/dockerd", public),
        file("bin/dockerd", 80_000_000, engine),
        file("bin/dockerlaunch", 2_000_000, Origin::of("launcher", Source::Launcher, &reason("boot"))),
        link("usr/lib/dockerlaunch/bin/modprobe", "dockerlaunch", applet),
        file("bin/ps", 150_000, package("ps", "procps", "usr/bin/ps")),
        file("image.json", 700, Origin::plain(DESCRIPTION, Source::Build)),
        file("lib/libc.so.6", 1_900_000, library("libc6", &["bin/dockerd", "lib/libproc2.so.1"])),
        file("lib/libproc2.so.1", 80_000, library("libproc2-1", &["bin/ps"])),
        file("lib/libsystemd.so.0", 900_000, library("libsystemd0", &["lib/libproc2.so.1"])),
    ];
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Contents {
        suite: "forky".to_owned(),
        architecture: "amd64",
        components: ["engine", "launcher", "ps"].map(str::to_owned).to_vec(),
        packages: vec![],
        opened: vec![],
        engine: None,
        tree_digest: Digest::of(b""),
        entries,
    }
}

#[test]
fn the_table_has_all_of_an_image() {
    insta::assert_snapshot!(overview(&example()));
}

#[test]
fn a_component_says_what_is_saved_without_it() {
    let contents = example();
    assert_eq!(saved_without(&contents, "ps"), 150_000 + 80_000 + 900_000, "libc is dockerd's too");
    assert_eq!(saved_without(&contents, "launcher"), 2_000_000);
    insta::assert_snapshot!(depth(&contents, "ps").unwrap());
}

#[test]
fn a_library_says_what_pulled_it_in() {
    insta::assert_snapshot!(depth(&example(), "libsystemd.so.0").unwrap());
}

#[test]
fn a_file_is_found_by_any_of_its_names() {
    let contents = example();
    let told = depth(&contents, "dockerd").unwrap().to_string();
    for name in ["bin/dockerd", "/usr/bin/dockerd", "usr/lib/dockerlaunch/bin/dockerd"] {
        assert_eq!(depth(&contents, name).unwrap().to_string(), told, "{name}");
    }
    insta::assert_snapshot!(told);
    let applet = depth(&contents, "modprobe").unwrap().to_string();
    assert!(applet.contains("kernel modules") && applet.contains("link to"), "{applet}");
    let json = serde_json::to_value(depth(&contents, "libc.so.6").unwrap()).unwrap();
    assert_eq!(json[0]["chains"]["engine"][0], "usr/lib/dockerlaunch/bin/dockerd");
    assert_eq!(json[0]["chains"]["ps"].as_array().unwrap().len(), 3);
    assert_eq!(json[0]["origin"]["source"]["version"], "1.0-1");
}

#[test]
fn an_unknown_name_has_a_nearest() {
    let contents = example();
    for (name, hint) in [
        ("dockerdd", "did you mean `dockerd`?"),
        ("libsystemd.so", "did you mean `libsystemd.so.0`?"),
        ("cli", "`cli` is a component that this image is without: explain one `--with cli`"),
        ("", "see all of them: leave the name out"),
        ("/", "see all of them: leave the name out"),
        ("qqq", "see all of them: leave the name out"),
    ] {
        assert_eq!(depth(&contents, name).unwrap_err().hints(), [hint], "{name}");
    }
}

/// Text stays inside of its own area, and nothing of an image can end the picture early.
#[test]
fn no_text_of_the_picture_overflows() {
    let mut contents = example();
    contents.entries.push(file("bin/<&\">", 9_000_000, package("engine", "x", "x")));
    let picture = treemap(&contents);
    assert!(picture.contains("&lt;&amp;&quot;&gt;") && !picture.contains("<&"));
    let number = |element: &str, name: &str| -> f64 {
        let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let (mut texts, mut right) = (0, 0.0);
    for element in picture.split('<').filter(|element| element.contains("x=\"")) {
        if element.starts_with("rect") {
            right = number(element, "x") + number(element, "width");
        } else if element.starts_with("text x") {
            let text = element.split('>').nth(1).unwrap();
            let text =
                ["&lt;", "&gt;", "&amp;", "&quot;"].iter().fold(text.to_owned(), |t, e| t.replace(e, "x"));
            assert!(number(element, "x") + text.chars().count() as f64 * 7.3 <= right, "{text}");
            texts += 1;
        }
    }
    assert!(texts > 3, "{picture}");
}
