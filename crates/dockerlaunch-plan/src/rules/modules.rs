//! Kernel modules: drivers for the devices that there are, and all else by the kernel itself, when it is first used.

use crate::facts::{Facts, PRIVATE};
use crate::{Action, Config, Verdict};

/// Loads what the machine's devices ask for, as udev(7) does elsewhere.
pub fn drivers(_: &Config, facts: &Facts) -> Verdict {
    match &facts.kernel {
        _ if !facts.process.is_kernel_init => Verdict::skipped("the host's kernel has its drivers"),
        kernel if kernel.drivers.is_empty() => Verdict::satisfied("no device asks for a module"),
        kernel => Verdict::Needed { actions: vec![Action::LoadDrivers { modules: kernel.drivers.clone() }] },
    }
}

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
