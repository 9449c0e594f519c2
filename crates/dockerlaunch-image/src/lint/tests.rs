use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::*;
use crate::elf;
use crate::origin::{EXTRA, Origin, PRELOAD, Source};
use crate::tree::{Content, Kind};

fn place(tree: &mut Tree, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
    let origin = Arc::new(Origin::plain("test", Source::Build));
    tree.place(path, mode, Kind::File(Content::new(content.into())), &origin).unwrap();
}

fn link(tree: &mut Tree, path: &str, target: &str) {
    let origin = Arc::new(Origin::plain("test", Source::Build));
    tree.place(path, 0o777, Kind::Symlink(target.to_owned()), &origin).unwrap();
}

/// A program that needs `libsample.so.1`, as the recipe adapts it, that library in two versions, and what has a loader's name.
struct Elves {
    program: Vec<u8>,
    library: Vec<u8>,
    older: Vec<u8>,
    loader: Vec<u8>,
}

fn elves() -> Elves {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
    let cc = |words: &[&str]| {
        let status = Command::new("cc").current_dir(directory.path()).args(words).status().unwrap();
        assert!(status.success(), "cc {words:?}");
    };
    let library = |output: &str, soname: &str, version: &str| {
        write("sample.map", &format!("{version} {{ global: sample; local: *; }};\n"));
        let linker = format!("-Wl,-soname,{soname},--version-script,sample.map");
        cc(&["-shared", "-nostdlib", &linker, "-o", output, "library.c"]);
    };
    let read = |path: &Path| std::fs::read(path).unwrap();
    write("library.c", "int sample(void) { return 0; }\n");
    write("program.c", "int sample(void);\nvoid _start(void) { sample(); }\n");
    library("older.so", "libsample.so.1", "SAMPLE_1");
    library("loader.so", "ld-sample.so.1", "SAMPLE_1");
    library("libsample.so", "libsample.so.1", "SAMPLE_2");
    cc(&["-nostdlib", "-nostartfiles", "-o", "program", "program.c", "libsample.so"]);
    Elves {
        program: elf::relocate("program", &read(&at("program"))).unwrap(),
        library: read(&at("libsample.so")),
        older: read(&at("older.so")),
        loader: read(&at("loader.so")),
    }
}

fn sound(elves: &Elves) -> Tree {
    let mut tree = Tree::new();
    place(&mut tree, "usr/lib/dockerlaunch/bin/x", 0o755, elves.program.clone());
    place(&mut tree, "usr/lib/dockerlaunch/lib/libsample.so.1", 0o644, elves.library.clone());
    place(&mut tree, "usr/lib/dockerlaunch/ld", 0o755, elves.loader.clone());
    place(&mut tree, "usr/lib/dockerlaunch/bin/script", 0o755, "#!/usr/bin/x -e\n");
    link(&mut tree, "usr/bin/x", "../lib/dockerlaunch/bin/x");
    link(&mut tree, "usr/local/bin/x", "../../lib/dockerlaunch/bin/x");
    link(&mut tree, "usr/libexec/docker/cli-plugins/x", "../../../lib/dockerlaunch/bin/x");
    tree
}

/// A fault, and what the one rule that it breaks says of it.
type Fault<'a> = (&'static str, &'a dyn Fn(&mut Tree), &'a str);

#[test]
fn each_rule_finds_its_fault_and_no_other_does() {
    let elves = elves();
    assert_eq!(lint(&sound(&elves)), []);
    let big = "x".repeat(5000);
    let without = |tree: &mut Tree, path: &str| {
        let mut other = Tree::new();
        for (there, node) in tree.iter().filter(|(there, _)| *there != path) {
            let origin = Arc::new(Origin::plain("test", Source::Build));
            other.place(there, node.mode, node.kind.clone(), &origin).unwrap();
        }
        *tree = other;
    };
    let library = "usr/lib/dockerlaunch/lib/libsample.so.1";
    let private = |name: &str| format!("usr/lib/dockerlaunch/{name}");
    let foreign = "only the private directory and public names";
    let loaders = "executables use the private loader and libraries";
    let libraries = "every library that is needed is there";
    let faults: &[Fault<'_>] = &[
        (foreign, &|tree| place(tree, "bin/sh", 0o755, ""), "/bin, /bin/sh"),
        (foreign, &|tree| place(tree, "etc/passwd", 0o644, ""), "/etc, /etc/passwd"),
        (foreign, &|tree| place(tree, "usr/bin/real", 0o755, ""), "/usr/bin/real"),
        (foreign, &|tree| place(tree, "usr/lib/other", 0o644, ""), "/usr/lib/other"),
        (foreign, &|tree| place(tree, "usr/libexec/docker/x", 0o644, ""), "/usr/libexec/docker/x"),
        (foreign, &|tree| link(tree, "usr/bin/deep/x", "../x"), "/usr/bin/deep, /usr/bin/deep/x"),
        (foreign, &|tree| tree.add_dir("tmp", 0o755).unwrap(), "/tmp"),
        ("links lead somewhere", &|tree| link(tree, "usr/bin/gone", "../gone"), "/usr/bin/gone"),
        (
            "no file has special permissions",
            &|tree| place(tree, &private("s"), 0o4755, ""),
            "/usr/lib/dockerlaunch/s has mode 4755",
        ),
        (
            "no file has special permissions",
            &|tree| tree.add_dir(&private("t"), 0o1755).unwrap(),
            "/usr/lib/dockerlaunch/t has mode 1755",
        ),
        (
            "only the owner can write",
            &|tree| place(tree, &private("w"), 0o646, ""),
            "/usr/lib/dockerlaunch/w has mode 646",
        ),
        (
            "it is known where each file comes from",
            &|tree| tree.add_symlink("usr/bin/y", "x").unwrap(),
            "/usr/bin/y",
        ),
        (
            "packages have their licence text",
            &|tree| {
                let source = Source::Package {
                    name: "libx".to_owned(),
                    version: "1".to_owned(),
                    digest: crate::Digest::of(b""),
                    paths: vec![],
                };
                let origin = Arc::new(Origin::plain("test", source));
                tree.place(&private("x"), 0o644, Kind::File(Content::new(*b"x")), &origin).unwrap();
            },
            "libx",
        ),
        (
            "no content is twice in a directory of a component",
            &|tree| ["a", "b"].iter().for_each(|name| place(tree, &private(name), 0o644, big.clone())),
            "/usr/lib/dockerlaunch/a = /usr/lib/dockerlaunch/b",
        ),
        (
            "scripts have their interpreter",
            &|tree| place(tree, &private("bin/y"), 0o755, "#! /bin/sh\n"),
            "/usr/lib/dockerlaunch/bin/y needs /bin/sh",
        ),
        (
            loaders,
            &|tree| {
                without(tree, &private("ld"));
            },
            "/usr/lib/dockerlaunch/bin/x",
        ),
        (
            libraries,
            &|tree| place(tree, &private("bin/broken"), 0o755, "\x7fELF"),
            "/usr/lib/dockerlaunch/bin/broken needs (unreadable)",
        ),
        (libraries, &|tree| without(tree, library), "/usr/lib/dockerlaunch/bin/x needs libsample.so.1"),
        (
            "libraries have the symbol versions that are needed",
            &|tree| {
                without(tree, library);
                place(tree, library, 0o644, elves.older[..].to_vec());
            },
            "/usr/lib/dockerlaunch/bin/x needs SAMPLE_2 of libsample.so.1",
        ),
    ];
    for (rule, fault, subjects) in faults {
        let mut tree = sound(&elves);
        fault(&mut tree);
        let findings = lint(&tree);
        let found: Vec<&str> = findings.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(found.join(", "), *subjects, "{rule}");
        assert!(findings.iter().all(|finding| finding.rule == *rule), "{findings:?}");
    }
    for (rule, _) in RULES.iter().filter(|(rule, _)| *rule != SIZE) {
        assert!(faults.iter().any(|(of, ..)| of == rule), "no test breaks the rule: {rule}");
    }
}

const SIZE: &str = "the image is of a sane size";

#[test]
fn an_image_is_of_a_sane_size() {
    let mut tree = Tree::new();
    let content = Content::new(vec![0; 51_000_000]);
    for number in 0..10 {
        tree.add_file(&format!("usr/lib/dockerlaunch/{number}"), 0o644, content.clone()).unwrap();
    }
    let found = lint(&tree);
    let of_size = found.iter().find(|finding| finding.rule == SIZE).unwrap();
    assert_eq!(of_size.subject, "510000000 bytes, more than 500000000");
}

/// Small files may be equal, and what the user adds may be anything.
#[test]
fn what_the_user_adds_is_as_the_user_wants_it() {
    let mut tree = sound(&elves());
    for name in ["a", "b"] {
        place(&mut tree, &format!("usr/lib/dockerlaunch/etc/{name}"), 0o644, "x");
        for (component, path) in [
            (PRELOAD, format!("usr/lib/dockerlaunch/images/{name}.tar")),
            (EXTRA, format!("opt/tools/{name}")),
        ] {
            let origin = Arc::new(Origin::plain(component, Source::User));
            let text = format!("#!/bin/sh\n{}", "x".repeat(5000));
            tree.place(&path, 0o755, Kind::File(Content::new(text.into_bytes())), &origin).unwrap();
        }
    }
    assert_eq!(lint(&tree), []);
}

#[test]
fn executables_as_packaged_are_found() {
    let mut tree = sound(&elves());
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    place(&mut tree, "usr/lib/dockerlaunch/bin/test", 0o755, bytes);
    let found: Vec<String> = lint(&tree).iter().map(ToString::to_string).collect();
    let loader =
        "/usr/lib/dockerlaunch/bin/test (executables use the private loader and libraries)".to_owned();
    assert!(found.contains(&loader), "{found:?}");
    assert!(found.iter().any(|finding| finding.contains("needs libc.so.6")), "{found:?}");
}
