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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_many_but_countable_pain_31() {
        let of = |nofile, capabilities| {
            let mut facts = Facts::default();
            facts.process.nofile = nofile;
            facts.process.capabilities = capabilities;
            nofile_of(&self::nofile(&Config::new(crate::config::Engine::default(), &[].into()), &facts))
        };
        let infinity = (u64::MAX, u64::MAX);
        assert_eq!(of(infinity, u64::MAX), Some((NOFILE, NOFILE)));
        assert_eq!(of(infinity, 0), Some((NOFILE, NOFILE)), "less takes no capability");
        assert_eq!(of((1024, 4096), u64::MAX), Some((NOFILE, NOFILE)));
        assert_eq!(of((1024, 4096), 0), Some((4096, 4096)), "more does");
        assert_eq!(of((NOFILE, NOFILE), u64::MAX), None);
    }

    fn nofile_of(verdict: &Verdict) -> Option<(u64, u64)> {
        match verdict {
            Verdict::Needed { actions } => match actions[..] {
                [Action::LimitNofile { soft, hard }] => Some((soft, hard)),
                _ => panic!("{actions:?}"),
            },
            _ => None,
        }
    }
}
