//! A lockfile.
#![no_main]

use dockerlaunch_image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| fuzzing::lockfile(input));
