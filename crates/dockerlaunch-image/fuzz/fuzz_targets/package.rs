//! A distribution package: an ar archive with a tar in it.
#![no_main]

use dockerlaunch_image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzing::package(input));
