//! Resource limits that the engine and its containers inherit.

use crate::facts::{Capability, Facts};
use crate::{Action, Config, Verdict};

/// What containers get by default from a packaged Docker; "infinity" makes programs that close every possible
/// descriptor crawl.
const NOFILE: u64 = 1_048_576;

/// Open files.
pub fn nofile(_: &Config, facts: &Facts) -> Verdict {
    let (soft, hard) = facts.process.nofile;
    if soft == 0 && hard == 0 {
        return Verdict::skipped("the limit could not be read");
    }
    let may_raise = facts.process.has(Capability::SysResource) && !facts.process.in_user_namespace;
    let wanted = if may_raise { NOFILE } else { hard.min(NOFILE) };
    if (soft, hard) == (wanted, wanted) {
        let why = if wanted < NOFILE { ": without CAP_SYS_RESOURCE no more" } else { "" };
        return Verdict::satisfied(format!("{wanted} open files{why}"));
    }
    Verdict::Needed { actions: vec![Action::LimitNofile { soft: wanted, hard: wanted }] }
}
