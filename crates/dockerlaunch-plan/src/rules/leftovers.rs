//! What a crashed predecessor left behind.

use crate::facts::{Facts, state_files};
use crate::{Action, Config, Problem, Verdict};

/// Removes pid files whose process is gone or is another program; sets broken state files aside.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let left = &facts.leftovers;
    if let Some(live) = left.pid_files.iter().find(|f| f.is_live()) {
        if config.only_looking {
            return Verdict::satisfied(format!("{} runs already", live.program));
        }
        let problem = Problem::new(format!("{} is already running here", live.program))
            .cause(format!("{} names a living process of that program", live.path))
            .hint("use the daemon that runs, or stop it first");
        return Verdict::Blocked { problem };
    }
    Verdict::needed_or(removals(facts), "nothing stale")
}

/// What goes, whoever else lives.
pub fn removals(facts: &Facts) -> Vec<Action> {
    let left = &facts.leftovers;
    let stale = left.pid_files.iter().filter(|file| !file.is_live());
    let stale = stale.map(|f| Action::Remove { path: f.path.clone() });
    let broken = left
        .broken_json
        .iter()
        .map(|path| Action::SetAside { from: path.clone(), to: state_files::set_aside_name(path) });
    stale.chain(broken).collect()
}
