//! Mirrors that fall silent, and users who do not wait for them.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use dockerlaunch_image::{BuildError, BuildReport, BuildRequest, Digest, Hints as _, Silent, build};
use repository::{FORKY, Fault, Fixture, INDEX, PACKAGE, RELEASE, Recorder, archive};

/// Patience that outlasts every test: only the user ends such a wait.
const ENDLESS: Duration = Duration::from_secs(100_000);

/// Far more than a build needs to notice anything.
const DEADLINE: Duration = Duration::from_secs(20);

/// A build in a thread of its own.
struct Running {
    recorder: Arc<Recorder>,
    result: Receiver<Result<BuildReport, BuildError>>,
}

impl Running {
    fn start(request: BuildRequest) -> Self {
        let recorder = Arc::new(Recorder::default());
        let (sender, result) = channel();
        let progress = Arc::clone(&recorder);
        thread::spawn(move || sender.send(build(&request, &*progress)).unwrap());
        Self { recorder, result }
    }

    fn wait_for(&self, what: &str, mut reached: impl FnMut(&Recorder) -> bool) {
        let begun = std::time::Instant::now();
        while !reached(&self.recorder) {
            assert!(begun.elapsed() < DEADLINE, "not reached: {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&self) -> Result<BuildReport, BuildError> {
        self.result.recv_timeout(DEADLINE).expect("the build goes on and on")
    }

    /// Ctrl-C, once the build has had the time to begin its wait.
    fn stop(&self, fixture: &Fixture) {
        thread::sleep(Duration::from_millis(100));
        self.recorder.stopped.store(true, Ordering::Relaxed);
        let error = self.end().unwrap_err();
        assert!(matches!(error, BuildError::Cancelled), "{error:?}");
        assert_eq!(fixture.left_over(), Vec::<String>::new());
    }
}

#[test]
fn a_download_that_stalls_goes_on_where_it_stopped() {
    let fixture = Fixture::new();
    fixture.server.fault(Some(Fault::StallOnce(PACKAGE, 1000)));
    Running::start(BuildRequest { patience: Duration::from_secs(2), ..fixture.request() }).end().unwrap();
    let requests = fixture.server.take_requests();
    let ranges: Vec<_> =
        requests.iter().filter(|(path, _)| path == PACKAGE).map(|(_, range)| range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=1000-")]);
}

#[test]
fn a_mirror_that_stays_silent_is_an_error() {
    let builds = [Fault::Mute(RELEASE), Fault::Stall(RELEASE, 10), Fault::Stall(INDEX, 10)].map(|fault| {
        let fixture = Fixture::new();
        fixture.server.fault(Some(fault));
        let patience = Duration::from_millis(400);
        let running = Running::start(BuildRequest { patience, ..fixture.request() });
        (fault, fixture, running)
    });
    for (fault, fixture, running) in builds {
        let error = running.end().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "the server sent nothing for 400ms", "{fault:?}: {error:?}");
        assert!(error.hints()[0].contains("goes on where it stopped"));
        assert_eq!(fixture.left_over(), Vec::<String>::new());
    }
}

#[test]
fn a_stop_is_not_kept_waiting_by_a_silent_mirror() {
    for fault in
        [Fault::Mute(RELEASE), Fault::Stall(RELEASE, 10), Fault::Mute(INDEX), Fault::Stall(PACKAGE, 10)]
    {
        let fixture = Fixture::new();
        fixture.server.fault(Some(fault));
        let running = Running::start(BuildRequest { patience: ENDLESS, ..fixture.request() });
        let (Fault::Mute(path) | Fault::Stall(path, _)) = fault else { panic!("{fault:?}") };
        running.wait_for("the request", |_| {
            fixture.server.take_requests().iter().any(|(asked, _)| asked == path)
        });
        running.stop(&fixture);
    }
}

#[test]
fn a_stop_is_not_kept_waiting_by_a_connection_that_does_not_come_about() {
    let fixture = Fixture::new();
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    // Connections that nobody accepts, until the kernel answers no more.
    let mut waiting = Vec::new();
    while let Ok(connection) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(connection);
    }
    let mirror = Some(format!("http://{address}/debian"));
    let running = Running::start(BuildRequest { mirror, patience: ENDLESS, ..fixture.request() });
    running.wait_for("the first step", |recorder| !recorder.steps.lock().unwrap().is_empty());
    running.stop(&fixture);
    let request = BuildRequest {
        mirror: Some(format!("http://{address}/debian")),
        patience: Duration::from_millis(50),
        ..fixture.request()
    };
    let error = build(&request, &Silent).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no connection within 50ms");
}

/// The part of the package's download, locked as by another process that is at it.
fn locked_part(fixture: &Fixture) -> (std::path::PathBuf, File) {
    let package = Digest::of(&archive(&FORKY, &fixture.signer)[PACKAGE]);
    let directory = fixture.path("cache/parts");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(package.hex());
    let file = File::create(&path).unwrap();
    file.lock().unwrap();
    (path, file)
}

fn waits_for_the_other(recorder: &Recorder) -> bool {
    recorder
        .steps
        .lock()
        .unwrap()
        .iter()
        .any(|step| step.contains("another build that fetches ca-certificates"))
}

#[test]
fn a_stop_is_not_kept_waiting_by_another_processs_download() {
    let fixture = Fixture::new();
    let _held = locked_part(&fixture);
    let running = Running::start(fixture.request());
    running.wait_for("the lock", waits_for_the_other);
    running.stop(&fixture);
}

#[test]
fn what_another_process_gave_up_is_fetched_anew() {
    let fixture = Fixture::new();
    let (path, held) = locked_part(&fixture);
    let running = Running::start(fixture.request());
    running.wait_for("the lock", waits_for_the_other);
    std::fs::remove_file(path).unwrap();
    drop(held);
    running.end().unwrap();
}
