//! `from-scratch build` as a user meets it: what it says, and how it ends.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
#[path = "../../dockerlaunch-image/tests/repository/mod.rs"]
mod repository;

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use repository::{FORKY, Fault, Fixture, INDEX, PACKAGE, RELEASE, Signer, archive, release};
use rustix::process::{Pid, Signal, kill_process};

/// A build from the served archive, started with these options of `env`: whoever started the test may ignore signals.
fn build(fixture: &Fixture, env: &[&str]) -> Command {
    let mut build = Command::new("env");
    build.args(["--default-signal"]).args(env).args([env!("CARGO_BIN_EXE_from-scratch"), "build"]);
    build.arg("--mirror").arg(&fixture.server.url).arg("--keyring").arg(fixture.path("keyring.gpg"));
    build.arg("--cache-dir").arg(fixture.path("cache"));
    build.arg("-o").arg(format!("dir:{}", fixture.path("out").display()));
    build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    build
}

/// The archive's InRelease is this.
fn with_release(change: impl FnOnce(String) -> Vec<u8>) -> Fixture {
    let fixture = Fixture::new();
    let mut files = archive(&FORKY, &fixture.signer);
    let signed = String::from_utf8(files[RELEASE].clone()).unwrap();
    files.insert(RELEASE.to_owned(), change(signed));
    fixture.server.replace(files);
    fixture
}

fn with_fault(fault: Fault) -> Fixture {
    let fixture = Fixture::new();
    fixture.server.fault(Some(fault));
    fixture
}

/// One bit is another one, so many bytes after `mark`.
fn flip(mark: &'static str, after: usize) -> Fixture {
    with_release(|signed| {
        let at = signed.find(mark).unwrap() + after;
        let mut bytes = signed.into_bytes();
        bytes[at] ^= 1;
        bytes
    })
}

#[test]
fn what_cannot_be_trusted_is_told_in_a_few_lines() {
    let bad_keyring = Fixture::new();
    std::fs::write(bad_keyring.path("keyring.gpg"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nnonsense\n")
        .unwrap();
    let refused = "no acceptable signature: the signature by key";
    let cases = [
        (with_release(|_| archive(&FORKY, &Signer::new())[RELEASE].clone()), "is not in the keyring"),
        (flip("Origin:", 9), refused),
        // The signature is another one each time: one bit of it may make a letter that no armour has.
        (flip("BEGIN PGP SIGNATURE", 60), "cannot trust"),
        (flip("Hash:", 5), "the file is damaged: "),
        (flip("END PGP SIGNATURE", 3), "the file is damaged: "),
        (flip("BEGIN PGP SIGNED", 2), "the file is not signed"),
        (with_release(|signed| [signed.as_bytes(), b"\xff"].concat()), "the file is damaged: "),
        (with_release(|signed| signed.as_bytes()[..signed.len() / 2].to_vec()), "the file is damaged: "),
        (with_release(|_| release(&FORKY, "forky").0.into_bytes()), "the file is not signed"),
        (
            with_release(|_| "<html>Please log in</html>\n".repeat(1000).into_bytes()),
            "the file is not signed",
        ),
        (with_fault(Fault::FlipBit(INDEX)), "is not what the archive signed"),
        (with_fault(Fault::FlipBit(PACKAGE)), "is not what the archive signed"),
        (bad_keyring, "cannot read the keyring"),
    ];
    for (fixture, expected) in cases {
        let Output { status, stderr, .. } = build(&fixture, &[]).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{stderr}");
        let (_, error) = stderr.split_once("error: ").unwrap();
        assert!(error.contains(expected), "not `{expected}`: {stderr}");
        assert!(error.contains("\nhint: "), "{stderr}");
        assert!(error.lines().count() <= 5 && error.len() <= 700, "{} bytes: {error}", error.len());
        assert_eq!(fixture.left_over(), Vec::<String>::new());
    }
}

/// A build that waits for a mirror without an answer.
struct Waiting {
    fixture: Fixture,
    build: Child,
}

impl Waiting {
    fn start(env: &[&str]) -> Self {
        let fixture = with_fault(Fault::Mute(RELEASE));
        let build = build(&fixture, env).spawn().unwrap();
        let waiting = Self { fixture, build };
        let begun = Instant::now();
        while waiting.fixture.server.take_requests().is_empty() {
            assert!(begun.elapsed() < DEADLINE, "it asks for nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        waiting
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.build), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.build.try_wait().unwrap() {
                assert_eq!(self.fixture.left_over(), Vec::<String>::new());
                return status;
            }
            if begun.elapsed() > DEADLINE {
                self.build.kill().unwrap();
                panic!("it goes on");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Less than the patience with a mirror, more than anything else needs.
const DEADLINE: Duration = Duration::from_secs(25);

#[test]
fn a_signal_ends_it_in_order_and_shows_in_the_exit_status() {
    let signals = [(Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143)];
    let builds = signals.map(|(signal, status)| (signal, status, Waiting::start(&[])));
    for (signal, status, waiting) in builds {
        waiting.send(signal);
        if signal == Signal::HUP {
            waiting.send(signal);
        }
        assert_eq!(waiting.end().code(), Some(status), "{signal:?}");
    }
}

#[test]
fn what_its_starter_ignores_does_not_stop_it() {
    let waiting = Waiting::start(&["--ignore-signal=HUP"]);
    waiting.send(Signal::HUP);
    std::thread::sleep(Duration::from_secs(1));
    waiting.send(Signal::TERM);
    assert_eq!(waiting.end().code(), Some(143), "the first one was to be ignored");
}
