//! The launcher's command line: whatever a user writes is understood or refused, never a crash of PID 1.
#![no_main]

use dockerlaunch_plan::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let argv: Vec<String> = text.split('\0').map(str::to_owned).collect();
    if let Err(error) = config::parse(&argv) {
        assert!(!error.to_string().is_empty() && !error.hint.is_empty());
    }
});
