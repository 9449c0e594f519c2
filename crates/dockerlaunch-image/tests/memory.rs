//! What a build needs of memory. Alone in its process, as others would be counted in.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use dockerlaunch_image::{BuildRequest, Event, Output, Progress, build};
use repository::{FORKY, Fixture, Suite};

const LAYER: usize = 32_000_000;

/// A line of `/proc/self/status`, in bytes.
fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Counts from the moment that the output is begun.
#[derive(Default)]
struct AtWriting(AtomicU64);

impl Progress for AtWriting {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Step(text) if text.starts_with("writing")) {
            // Sets the peak back to what is in use now.
            fs::write("/proc/self/clear_refs", "5").unwrap();
            self.0.store(status("VmHWM"), Ordering::Relaxed);
        }
    }
}

#[test]
fn a_docker_archive_is_not_held_in_memory() {
    let fixture = Fixture::of(&Suite { filler: LAYER, ..FORKY });
    let before = AtWriting::default();
    let outputs = vec![Output::Docker(fixture.path("out"))];
    let report = build(&BuildRequest { outputs, ..fixture.request() }, &before).unwrap();
    assert!(report.outputs[0].size > LAYER as u64);
    // The kernel's own count may be off by some pages.
    let grown = status("VmHWM").saturating_sub(before.0.into_inner());
    assert!(grown < LAYER as u64 / 2, "{grown} bytes more than before");
}
