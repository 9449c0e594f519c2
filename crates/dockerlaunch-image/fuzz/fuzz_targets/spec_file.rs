//! A spec file.
#![no_main]

use dockerlaunch_image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| fuzzing::spec_file(input));
