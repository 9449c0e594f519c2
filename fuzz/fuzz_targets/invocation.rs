//! The launcher's command line: whatever a user writes is understood or refused, never a crash of PID 1.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use dockerlaunch_plan::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let argv: Vec<OsString> =
        text.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect();
    if let Err(error) = config::parse(&argv) {
        assert!(!error.to_string().is_empty() && !error.hint.is_empty());
    }
});
