//! Building from a lockfile, made in the same run.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::path::Path;

use dockerlaunch_image::{
    BuildError, BuildRequest, FetchError, Hints as _, Lock, LockError, Silent, build, contents,
};
use repository::{FORKY, Fault, Fixture, PACKAGE, Suite, archive};

fn lock(fixture: &Fixture) -> Lock {
    let lock = Lock::of(&[contents(&fixture.request(), &Silent).unwrap()]).unwrap();
    let path = fixture.path("cache/image.lock");
    lock.write(&path).unwrap();
    let read = Lock::read(&path).unwrap();
    assert_eq!(read, lock);
    read
}

fn locked(fixture: &Fixture, lock: &Lock) -> BuildRequest {
    BuildRequest { lock: Some(lock.clone()), ..fixture.request() }
}

fn forget(fixture: &Fixture) {
    std::fs::remove_dir_all(fixture.path("cache")).unwrap();
    fixture.server.take_requests();
}

#[test]
fn the_same_packages_make_the_same_image_without_an_index() {
    let fixture = Fixture::new();
    let report = build(&fixture.request(), &Silent).unwrap();
    let lock = lock(&fixture);
    // The archive has a newer version now, and still has the old file.
    let mut files = archive(&Suite { version: "2", ..FORKY }, &fixture.signer);
    files.extend(archive(&FORKY, &fixture.signer).into_iter().filter(|(path, _)| path == PACKAGE));
    fixture.server.replace(files);
    forget(&fixture);
    let again = build(&locked(&fixture, &lock), &Silent).unwrap();
    assert_eq!(again.tree_digest, report.tree_digest);
    let paths: Vec<String> = fixture.server.take_requests().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [PACKAGE], "nothing else is fetched");
    let newer = build(&fixture.request(), &Silent).unwrap();
    assert_ne!(newer.tree_digest, report.tree_digest, "without the lock the newest is taken");
}

#[test]
fn a_package_that_left_the_mirror_is_an_error_with_a_way_out() {
    let fixture = Fixture::new();
    let old = lock(&fixture);
    fixture.server.replace(archive(&Suite { version: "2", ..FORKY }, &fixture.signer));
    build(&locked(&fixture, &old), &Silent).expect("the cache has it still");
    forget(&fixture);
    let error = build(&locked(&fixture, &old), &Silent).unwrap_err();
    assert!(matches!(error, BuildError::Lock(LockError::Gone { .. })), "{error:?}");
    assert_eq!(error.to_string(), "ca-certificates 1, which the lockfile names, is no longer on the mirror");
    let hints = error.hints().join("\n");
    assert!(hints.contains("lock --update") && hints.contains("--mirror"), "{hints}");
    assert_eq!(old.changes(&lock(&fixture)), ["ca-certificates 1 -> 2"]);
}

#[test]
fn another_file_under_the_same_name_is_refused() {
    let fixture = Fixture::new();
    let lock = lock(&fixture);
    forget(&fixture);
    fixture.server.fault(Some(Fault::FlipBit(PACKAGE)));
    let error = build(&locked(&fixture, &lock), &Silent).unwrap_err();
    assert!(matches!(error, BuildError::Fetch(FetchError::WrongDigest { .. })), "{error:?}");
    fixture.server.fault(None);
    // And so is a lockfile with another digest for it.
    let text = lock.to_text();
    let at = text.find("sha256 = \"").unwrap() + 10;
    let forged = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
    let forged = Lock::parse(Path::new("image.lock"), &forged).unwrap();
    assert!(build(&locked(&fixture, &forged), &Silent).is_err());
    assert_eq!(fixture.left_over(), Vec::<String>::new());
}

#[test]
fn a_lock_for_something_else_is_refused() {
    let fixture = Fixture::new();
    let lock = lock(&fixture);
    let other = BuildRequest { only: Some(vec!["xz".to_owned()]), ..locked(&fixture, &lock) };
    let error = build(&other, &Silent).unwrap_err().to_string();
    assert_eq!(error, "the lockfile is for the components ca-certificates, and the build is for xz");
    let other = BuildRequest { suite: "trixie".to_owned(), ..locked(&fixture, &lock) };
    let error = build(&other, &Silent).unwrap_err().to_string();
    assert_eq!(error, "the lockfile is for the suite forky, and the build is for trixie");
}
