//! The `root_` tier: what goes wrong from outside, and what must hold all the same.

use std::process::ExitCode;

use itest::Need;
use itest::faults::{FAULTS, traces};
use itest::suite::Suite;

/// What the host is looked at with.
const NEEDS: &[Need] = &[Need::Root, Need::Busybox, Need::Program("ip"), Need::Program("nft")];

fn main() -> ExitCode {
    let mut suite = Suite::new("root_faults", NEEDS);
    for fault in FAULTS.iter().copied().flatten() {
        let run = move || fault.run();
        suite = if fault.often {
            suite.test(fault.name, fault.needs, run)
        } else {
            suite.long(fault.name, fault.needs, run)
        };
    }
    suite.run(traces::none_at_the_end)
}
