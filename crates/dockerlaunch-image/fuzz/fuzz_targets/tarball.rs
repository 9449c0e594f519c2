//! A tarball of the engine.
#![no_main]

use dockerlaunch_image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzing::tarball(input));
