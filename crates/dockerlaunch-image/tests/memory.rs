//! What a build needs of memory. Alone in its process, as others would be counted in.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::fs;

use dockerlaunch_image::{BuildRequest, Preload, Silent, build};
use repository::{FORKY, Fixture, Suite, every_output, image_archive};

/// Above what glibc keeps when it is freed (M_MMAP_THRESHOLD, at most 32 MiB): that would hide as much.
const LAYER: usize = 80_000_000;

/// A line of `/proc/self/status`, in bytes.
fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Sets the peak back to what is in use now, and returns that.
fn reset() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmHWM")
}

#[test]
fn files_are_not_held_in_memory() {
    let fixture = Fixture::of(&Suite { filler: LAYER, ..FORKY });
    let preloaded = fixture.path("image.tar");
    fs::write(&preloaded, image_archive(LAYER)).unwrap();
    let before = reset();
    let preload = vec![Preload::read(&preloaded).unwrap()];
    let request =
        BuildRequest { outputs: every_output(&fixture.path("")).to_vec(), preload, ..fixture.request() };
    let report = build(&request, &Silent).unwrap();
    assert!(report.tree_size > 2 * LAYER as u64);
    // The kernel's own count may be off by some pages.
    let grown = status("VmHWM").saturating_sub(before);
    assert!(grown < LAYER as u64 / 2, "{grown} bytes more than before");
}
