//! Executables that are libraries of each other, as the lints of an image look at them.
#![no_main]

use dockerlaunch_image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzing::closure(input));
