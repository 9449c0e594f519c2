//! Release files that are validly signed and still not to be used, or not to be kept.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use dockerlaunch_image::source::SourceError;
use dockerlaunch_image::{BuildError, BuildRequest, Hints as _, Silent, build};
use repository::{FORKY, Fixture, RELEASE, Signer, Suite, archive, release};

const TRIXIE: Suite = Suite { codename: "trixie", suite: "stable", ..FORKY };

fn empty_release_cache(fixture: &Fixture) {
    for entry in std::fs::read_dir(fixture.path("cache/releases")).unwrap() {
        std::fs::remove_file(entry.unwrap().path().join("Last-Modified")).unwrap();
    }
}

/// The archive as it was a year before.
fn dated(suite: &Suite, date: &str, signer: &Signer) -> std::collections::BTreeMap<String, Vec<u8>> {
    let (text, mut files) = release(suite, suite.codename);
    let text = text.replace("Date: Thu, 01 Jan 2026", &format!("Date: {date}"));
    files.insert(format!("dists/{}/InRelease", suite.codename), signer.sign(&text));
    files
}

#[test]
fn a_release_that_is_not_verified_is_not_kept() {
    let fixture = Fixture::new();
    build(&fixture.request(), &Silent).unwrap();
    empty_release_cache(&fixture);
    fixture.server.replace(archive(&FORKY, &Signer::new()));
    build(&fixture.request(), &Silent).unwrap_err();
    build(&BuildRequest { offline: true, ..fixture.request() }, &Silent).unwrap();
}

#[test]
fn a_kept_release_that_is_damaged_is_asked_for_anew() {
    let fixture = Fixture::new();
    build(&fixture.request(), &Silent).unwrap();
    for entry in std::fs::read_dir(fixture.path("cache/releases")).unwrap() {
        std::fs::write(entry.unwrap().path().join("InRelease"), "<html>Please log in</html>").unwrap();
    }
    build(&fixture.request(), &Silent).unwrap();
    build(&BuildRequest { offline: true, ..fixture.request() }, &Silent).unwrap();
}

#[test]
fn an_older_release_than_before_is_refused() {
    let fixture = Fixture::new();
    build(&fixture.request(), &Silent).unwrap();
    empty_release_cache(&fixture);
    fixture.server.replace(dated(&FORKY, "Wed, 01 Jan 2025", &fixture.signer));
    let error = build(&fixture.request(), &Silent).unwrap_err();
    assert!(matches!(error, BuildError::Source(SourceError::Older { .. })), "{error:?}");
    assert!(error.to_string().contains("2025-01-01"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("--mirror")));
    fixture.server.replace(dated(&FORKY, "Fri, 02 Jan 2026", &fixture.signer));
    build(&fixture.request(), &Silent).unwrap();
}

#[test]
fn another_distributions_security_suite_does_not_pass() {
    let fixture = Fixture::of(&TRIXIE);
    let mut files = archive(&TRIXIE, &fixture.signer);
    // Validly signed when bookworm was stable.
    let old = Suite { codename: "bookworm-security", suite: "stable-security", ..FORKY };
    let (text, _) = release(&old, "trixie-security");
    files.insert("dists/trixie-security/InRelease".to_owned(), fixture.signer.sign(&text));
    fixture.server.replace(files);
    let url = fixture.server.url.clone();
    let request =
        BuildRequest { suite: "trixie".to_owned(), security_mirror: Some(url), ..fixture.request() };
    let error = build(&request, &Silent).unwrap_err();
    assert!(matches!(error, BuildError::Source(SourceError::WrongSuite { .. })), "{error:?}");
}

#[test]
fn what_a_stable_suite_lacked_online_it_may_lack_offline() {
    let fixture = Fixture::of(&TRIXIE);
    let request = BuildRequest { suite: "trixie".to_owned(), ..fixture.request() };
    let online = build(&request, &Silent).unwrap();
    let offline = build(&BuildRequest { offline: true, ..request }, &Silent).unwrap();
    assert_eq!(offline.warnings, online.warnings);
    assert!(online.warnings[0].contains("without trixie's security fixes"), "{:?}", online.warnings);
    let error = build(&BuildRequest { offline: true, ..fixture.request() }, &Silent).unwrap_err();
    assert!(error.to_string().contains(RELEASE), "the main suite must be there: {error}");
}
