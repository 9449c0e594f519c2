//! A disk that is full in the middle of an output, in a mount namespace of its own.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::process::Command;

use dockerlaunch_image::{BuildRequest, Output, Silent, build};
use repository::{FORKY, Fixture, Suite, every_output};

/// Set in the process that has the small disk.
const INSIDE: &str = "FULL_DISK_AT";

/// More than the small disk holds.
const FILLER: usize = 6_000_000;

#[test]
fn ns_a_full_disk_leaves_no_half_output() {
    match std::env::var(INSIDE) {
        Ok(place) => on_the_full_disk(&place),
        Err(_) => in_a_namespace(),
    }
}

/// The same test again, where a disk of 4 MB can be mounted without root.
fn in_a_namespace() {
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(place.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "ns_a_full_disk_leaves_no_half_output", "--nocapture"])
        .env(INSIDE, place.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn on_the_full_disk(place: &str) {
    let place = std::path::Path::new(place);
    let fixture = Fixture::of(&Suite { filler: FILLER, ..FORKY });
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    std::fs::write(place.join("tar"), "of before").unwrap();
    // But a bill of materials, for which there is room.
    for output in every_output(place).into_iter().filter(|output| !matches!(output, Output::Sbom(_))) {
        let compression = dockerlaunch_image::Compression::None;
        let request = BuildRequest { outputs: vec![output.clone()], compression, ..fixture.request() };
        let error = build(&request, &Silent).expect_err(&output.to_string());
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("No space left"), "{output}: {error}: {cause}");
        assert!(dockerlaunch_image::Hints::hints(&error)[0].contains("free some space"));
        assert_eq!(names(), ["tar"], "{output}");
    }
    assert_eq!(std::fs::read(place.join("tar")).unwrap(), b"of before");
    std::fs::remove_file(place.join("tar")).unwrap();

    let cache_dir = Some(place.join("cache"));
    let request = BuildRequest { outputs: vec![], cache_dir, ..fixture.request() };
    let error = build(&request, &Silent).expect_err("what is unpacked does not fit into the cache");
    let told = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let told: Vec<String> = told.map(ToString::to_string).collect();
    assert!(told.concat().contains("No space left"), "{told:?}");
    let hints = dockerlaunch_image::Hints::hints(&error);
    assert!(hints[0].contains("--cache-dir"), "{hints:?}");
}
