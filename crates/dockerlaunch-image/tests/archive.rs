//! Building from an archive that is right, and from many that are wrong.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use dockerlaunch_image::source::{AptSettings, AptSource, SourceError};
use dockerlaunch_image::verify::VerifyError;
use dockerlaunch_image::{
    BuildError, BuildRequest, Digest, Engine, Event, FetchError, Hints as _, Output, Silent, UpstreamError,
    build,
};
use repository::{FORKY, Fault, Fixture, INDEX, PACKAGE, RELEASE, Recorder, Signer, Suite, archive, release};

fn paths(fixture: &Fixture) -> Vec<String> {
    let mut paths: Vec<String> = fixture.server.take_requests().into_iter().map(|(path, _)| path).collect();
    paths.sort();
    paths
}

/// The build fails, says what to do, and leaves nothing behind.
fn fails(fixture: &Fixture, request: &BuildRequest) -> BuildError {
    let error = build(request, &Silent).unwrap_err();
    assert!(!error.hints().is_empty(), "no remedy for: {error}");
    assert_eq!(fixture.left_over(), Vec::<String>::new(), "something half made");
    error
}

#[test]
fn a_sound_archive_gives_an_image() {
    let fixture = Fixture::new();
    let report = build(&fixture.request(), &Silent).unwrap();
    let bundle = fixture.path("out/usr/lib/dockerlaunch/etc/ssl/certs/ca-certificates.crt");
    let text = std::fs::read_to_string(bundle).unwrap();
    assert!(text.starts_with("version 1\nbbb\n"), "joined in the order of the names: {text}");
    assert_eq!(report.packages[0].name, "ca-certificates");
    assert_eq!(report.suite, "forky");
    assert_eq!(report.warnings, Vec::<String>::new());
}

#[test]
fn nothing_is_downloaded_twice() {
    let fixture = Fixture::new();
    build(&fixture.request(), &Silent).unwrap();
    assert_eq!(paths(&fixture), [RELEASE, INDEX, PACKAGE]);
    build(&fixture.request(), &Silent).unwrap();
    assert_eq!(paths(&fixture), [RELEASE], "only whether the Release file has changed");
    build(&BuildRequest { offline: true, ..fixture.request() }, &Silent).unwrap();
    assert_eq!(paths(&fixture), Vec::<String>::new());
}

#[test]
fn offline_with_an_empty_cache_is_an_error() {
    let fixture = Fixture::new();
    let error = fails(&fixture, &BuildRequest { offline: true, ..fixture.request() });
    assert!(matches!(error, BuildError::Source(SourceError::Fetch(FetchError::Offline { .. }))), "{error:?}");
    assert_eq!(paths(&fixture), Vec::<String>::new());
}

#[test]
fn another_ones_signature_is_refused() {
    let fixture = Fixture::new();
    fixture.server.replace(archive(&FORKY, &Signer::new()));
    let error = fails(&fixture, &fixture.request());
    let BuildError::Source(SourceError::Verify { source: VerifyError::NoneAcceptable(reasons), .. }) = &error
    else {
        panic!("{error:?}")
    };
    assert!(reasons[0].contains("is not in the keyring"), "{reasons:?}");
    assert_eq!(paths(&fixture), [RELEASE], "nothing else was even asked for");
}

#[test]
fn text_that_was_not_signed_is_refused_or_unread() {
    let fixture = Fixture::new();
    let mut files = archive(&FORKY, &fixture.signer);
    let signed = String::from_utf8(files[RELEASE].clone()).unwrap();
    for changed in [
        signed.replace("Suite: testing", "Suite: tasting"),
        format!("Origin: Evil\n{signed}"),
        signed.lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\n"),
        "<html>Please log in</html>".to_owned(),
        String::new(),
    ] {
        files.insert(RELEASE.to_owned(), changed.into_bytes());
        fixture.server.replace(files.clone());
        let _ = std::fs::remove_dir_all(fixture.path("cache"));
        let error = fails(&fixture, &fixture.request());
        assert!(matches!(error, BuildError::Source(SourceError::Verify { .. })), "{error:?}");
    }
    files.insert(RELEASE.to_owned(), format!("{signed}\nCodename: other\nOrigin: Evil\n").into_bytes());
    fixture.server.replace(files);
    let _ = std::fs::remove_dir_all(fixture.path("cache"));
    if let Ok(report) = build(&fixture.request(), &Silent) {
        assert_eq!(report.suite, "forky", "what stands after the signature does not count");
    }
}

#[test]
fn one_flipped_bit_is_found() {
    for path in [INDEX, PACKAGE] {
        let fixture = Fixture::new();
        fixture.server.fault(Some(Fault::FlipBit(path)));
        let error = fails(&fixture, &fixture.request());
        let wrong = matches!(
            error,
            BuildError::Fetch(FetchError::WrongDigest { .. })
                | BuildError::Source(SourceError::Fetch(FetchError::WrongDigest { .. }))
        );
        assert!(wrong, "{path}: {error:?}");
        fixture.server.fault(None);
        build(&fixture.request(), &Silent).unwrap();
    }
}

#[test]
fn a_release_past_its_date_depends_on_the_checks() {
    let fixture = Fixture::of(&Suite { valid_until: "Fri, 02 Jan 2026 00:00:00 UTC", ..FORKY });
    let error = fails(&fixture, &fixture.request());
    assert!(matches!(error, BuildError::Source(SourceError::Expired { .. })), "{error:?}");
    assert!(error.to_string().contains("2026-01-02T00:00:00Z"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("--allow-expired")));

    let allowed = BuildRequest { allow_expired: true, ..fixture.request() };
    let unchecked = AptSettings { check_valid_until: false, ..AptSettings::none() };
    let by_apt = BuildRequest { apt: Some(unchecked), ..fixture.request() };
    for request in [allowed, by_apt] {
        let recorder = Recorder::default();
        build(&request, &recorder).unwrap();
        let warnings = recorder.warnings.into_inner().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("2026-01-02T00:00:00Z"), "{warnings:?}");
    }
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let fixture = Fixture::new();
    fixture.server.fault(Some(Fault::CutOnce(PACKAGE, 1000)));
    build(&fixture.request(), &Silent).unwrap();
    let ranges: Vec<Option<String>> = fixture
        .server
        .take_requests()
        .into_iter()
        .filter(|(path, _)| path == PACKAGE)
        .map(|(_, range)| range)
        .collect();
    assert_eq!(ranges, [None, Some("bytes=1000-".to_owned())]);
}

#[test]
fn a_mirror_that_goes_away_is_an_error_and_the_next_run_goes_on() {
    let fixture = Fixture::new();
    fixture.server.fault(Some(Fault::Gone(PACKAGE, 1000)));
    let error = fails(&fixture, &fixture.request());
    assert!(matches!(error, BuildError::Fetch(FetchError::Transport { .. })), "{error:?}");
    assert!(error.hints()[0].contains("goes on where it stopped"));
    fixture.server.take_requests();
    fixture.server.fault(None);
    build(&fixture.request(), &Silent).unwrap();
    let requests = fixture.server.take_requests();
    let (_, range) = requests.iter().find(|(path, _)| path == PACKAGE).unwrap();
    assert!(range.is_some(), "what had arrived was used: {requests:?}");
}

/// What an engine's address has is no mirror's business.
#[test]
fn an_engine_that_cannot_be_fetched_is_an_error_with_its_own_way_out() {
    const PATH: &str = "docker.tgz";
    let fixture = Fixture::new();
    let location = format!("{}/{PATH}", fixture.server.url);
    let engine = Some(Engine { location, digest: Digest::of(b"") });
    let request = BuildRequest { engine, ..fixture.request() };
    for (fault, cause) in
        [(None, "answered 404"), (Some(Fault::Claim(PATH, 600 << 20)), "longer than 536870912 bytes")]
    {
        fixture.server.fault(fault);
        fixture.server.take_requests();
        let error = fails(&fixture, &request);
        let BuildError::Upstream(UpstreamError::Fetch { source, .. }) = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(cause), "{source}");
        assert!(error.hints().iter().all(|hint| !hint.contains("--mirror")), "{:?}", error.hints());
        let asked = fixture.server.take_requests().iter().filter(|(path, _)| path == PATH).count();
        assert_eq!(asked, 1, "it is not tried again: {cause}");
    }
}

#[test]
fn no_mirror_at_all_is_an_error() {
    let fixture = Fixture::new();
    let error = fails(&fixture, &BuildRequest { mirror: None, ..fixture.request() });
    assert!(matches!(error, BuildError::Source(SourceError::NoMirror)), "{error:?}");
    assert!(error.hints()[0].contains("--mirror"));
}

#[test]
fn of_apts_archives_the_distributions_own_is_taken() {
    let fixture = Fixture::new();
    let foreign = repository::Server::start({
        let (text, mut files) = release(&FORKY, "forky");
        let text = text.replace("Origin: Debian", "Origin: Somebody");
        files.insert(RELEASE.to_owned(), fixture.signer.sign(&text));
        files
    });
    let source =
        |uri: &str| AptSource { uri: uri.to_owned(), suites: vec!["x".to_owned()], signed_by: vec![] };
    let apt = AptSettings {
        sources: vec![source(&foreign.url), source(&fixture.server.url)],
        ..AptSettings::none()
    };
    build(&BuildRequest { mirror: None, apt: Some(apt), ..fixture.request() }, &Silent).unwrap();
    assert_eq!(paths(&fixture), [RELEASE, INDEX, PACKAGE]);
    let only = AptSettings { sources: vec![source(&foreign.url)], ..AptSettings::none() };
    let request = BuildRequest { mirror: None, apt: Some(only), outputs: vec![], ..fixture.request() };
    let error = build(&request, &Silent).unwrap_err();
    assert!(matches!(error, BuildError::Source(SourceError::NotDebian { .. })), "{error:?}");
}

#[test]
fn mistaken_names_are_answered_with_the_nearest() {
    let fixture = Fixture::new();
    let error =
        fails(&fixture, &BuildRequest { only: None, with: vec!["clii".to_owned()], ..fixture.request() });
    assert_eq!(error.hints(), ["did you mean `cli`?"]);
    let error = fails(&fixture, &BuildRequest { suite: "forki".to_owned(), ..fixture.request() });
    assert!(matches!(error, BuildError::Source(SourceError::UnknownSuite { .. })), "{error:?}");
    assert_eq!(error.hints()[0], "did you mean `forky`?");
}

#[test]
fn one_suite_is_not_passed_off_as_another() {
    let fixture = Fixture::new();
    let mut files = archive(&FORKY, &fixture.signer);
    let validly_signed = files[RELEASE].clone();
    files.insert("dists/trixie/InRelease".to_owned(), validly_signed);
    fixture.server.replace(files);
    let error = fails(&fixture, &BuildRequest { suite: "trixie".to_owned(), ..fixture.request() });
    assert!(matches!(error, BuildError::Source(SourceError::WrongSuite { .. })), "{error:?}");
}

#[test]
fn a_stable_suite_is_joined_with_its_updates() {
    let stable = Suite { codename: "trixie", suite: "stable", ..FORKY };
    let fixture = Fixture::of(&stable);
    let mut files = archive(&stable, &fixture.signer);
    let updates = Suite { codename: "trixie-updates", suite: "stable-updates", version: "1.1", ..FORKY };
    files.extend(archive(&updates, &fixture.signer));
    fixture.server.replace(files);
    let report = build(&BuildRequest { suite: "trixie".to_owned(), ..fixture.request() }, &Silent).unwrap();
    assert_eq!(report.packages[0].version, "1.1", "the higher version wins");
    assert_eq!(report.warnings.len(), 1, "no security archive: {:?}", report.warnings);
}

#[test]
fn a_stopped_build_leaves_nothing_behind() {
    let stops: [fn(&Event<'_>) -> bool; 3] = [
        |event| matches!(event, Event::FetchAdvanced { .. }),
        |event| matches!(event, Event::Step("putting the image together")),
        |event| matches!(event, Event::Step(text) if text.starts_with("writing")),
    ];
    for stop_at in stops {
        let fixture = Fixture::new();
        let recorder = Recorder { stop_at: Some(stop_at), ..Recorder::default() };
        let outputs = [Output::Dir, Output::Oci, Output::Tar, Output::Docker, Output::Initramfs]
            .map(|kind| kind(fixture.path("out")));
        for output in outputs {
            let request = BuildRequest { outputs: vec![output], ..fixture.request() };
            let error = build(&request, &recorder).unwrap_err();
            assert!(matches!(error, BuildError::Cancelled), "{error:?}");
            assert_eq!(fixture.left_over(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_place_that_cannot_be_written_is_an_error() {
    let fixture = Fixture::new();
    for kind in [Output::Dir, Output::Oci, Output::Tar, Output::Docker, Output::Initramfs] {
        let output = kind(fixture.path("no/such/directory"));
        let error = fails(&fixture, &BuildRequest { outputs: vec![output], ..fixture.request() });
        assert_eq!(paths(&fixture), Vec::<String>::new(), "nothing was fetched for it");
        assert!(error.hints()[0].contains("mkdir -p"), "{:?}", error.hints());
    }
}
