//! The launcher's settings: whatever stands in a variable is understood, or refused with a remedy.
#![no_main]

use dockerlaunch_plan::config::settings::{SETTINGS, Settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str, &str)| {
    let (which, name, value) = input;
    // A real name now and then: by chance none would ever come up.
    let setting = SETTINGS.get(usize::from(which));
    let name = setting.map_or_else(|| format!("DOCKERLAUNCH_{name}"), |setting| setting.name.to_owned());
    if let (_, Some(problem)) = Settings::parse(&[(name, value.to_owned())].into()) {
        assert!(!problem.what.is_empty() && !problem.hints.is_empty());
    }
});
