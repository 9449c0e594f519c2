//! Kernel modules: loaded by the kernel itself, when a feature is first used.

use crate::facts::{Facts, PRIVATE};
use crate::{Action, Config, Verdict};

const KNOB: &str = "/proc/sys/kernel/modprobe";

/// As the kernel's init we name our own `modprobe` as the kernel's helper (proc_sys_kernel(5), `modprobe`); every
/// module then loads by need. Elsewhere that knob belongs to the host and is left alone.
pub fn autoload(_: &Config, facts: &Facts) -> Verdict {
    if !facts.process.is_kernel_init {
        return Verdict::skipped("the kernel's module helper belongs to the host");
    }
    if !facts.kernel.has_modules {
        return Verdict::skipped(format!(
            "there is no modules.dep below /lib/modules/{}",
            facts.kernel.release
        ));
    }
    let helper = format!("{PRIVATE}/bin/modprobe");
    match facts.knobs.get(KNOB) {
        None => Verdict::skipped("the kernel loads no modules"),
        Some(current) if *current == helper => Verdict::satisfied(format!("the kernel calls {helper}")),
        Some(_) if !facts.exists(&helper) => Verdict::skipped(format!("{helper} does not exist")),
        Some(_) => Verdict::Needed { actions: vec![Action::WriteKnob { path: KNOB.into(), value: helper }] },
    }
}
