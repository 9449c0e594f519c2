//! `X.dist`: images that put a wrapper in a program's place keep the program itself under that name. Where the wrapper is
//! gone, the program gets its name back.

use crate::facts::{Entry, Facts, PRIVATE};
use crate::{Action, Config, Verdict};

/// Programs that are looked for; the engine's own rule looks for `dockerd.dist`.
const PROGRAMS: &[&str] = &["docker", "iptables", "modprobe"];

/// Links each program that no directory has, beside the first `.dist` of its name.
pub fn links(config: &Config, facts: &Facts) -> Verdict {
    let missing = PROGRAMS
        .iter()
        .filter(|name| !directories(config).any(|dir| is_program(facts, &format!("{dir}/{name}"))));
    let actions = missing.filter_map(|name| {
        // Our own directory has no originals, and what is in it is asked for before this.
        let theirs = directories(config).filter(|dir| *dir != format!("{PRIVATE}/bin"));
        let mut links = theirs.map(|dir| format!("{dir}/{name}"));
        let path = links.find(|path| is_program(facts, &format!("{path}.dist")) && !facts.exists(path))?;
        Some(Action::Symlink { path, target: format!("{name}.dist") })
    });
    Verdict::needed_or(actions.collect(), "no program is there as `.dist` alone")
}

/// Paths that the rule asks for.
pub fn watched(config: &Config) -> impl Iterator<Item = String> {
    directories(config).flat_map(|dir| {
        PROGRAMS.iter().flat_map(move |name| [format!("{dir}/{name}"), format!("{dir}/{name}.dist")])
    })
}

/// Where the engine looks for programs (see [`super::engine::command`]).
fn directories(config: &Config) -> impl Iterator<Item = String> {
    let private = format!("{PRIVATE}/bin");
    let private = (!config.path.contains(&private)).then_some(private);
    private.into_iter().chain(config.path.iter().cloned())
}

fn is_program(facts: &Facts, path: &str) -> bool {
    match facts.paths.get(path) {
        Some(Entry::File(mode)) => mode & 0o111 != 0,
        Some(Entry::Link(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    fn links_among(files: &[(&str, u32)]) -> Vec<String> {
        let env = BTreeMap::from([("PATH".to_owned(), "/sbin:/usr/bin".to_owned())]);
        let config = Config::new(Engine::default(), &env);
        let mut facts = Facts::default();
        facts.paths.extend(files.iter().map(|(path, mode)| ((*path).to_owned(), Entry::File(*mode))));
        assert!(facts.paths.keys().all(|path| watched(&config).any(|watched| watched == *path)));
        match links(&config, &facts) {
            Verdict::Needed { actions } => actions.iter().map(ToString::to_string).collect(),
            _ => vec![],
        }
    }

    #[test]
    fn only_what_is_missing_is_linked_where_its_original_is() {
        assert_eq!(
            links_among(&[
                ("/usr/bin/iptables.dist", 0o755),
                ("/sbin/docker.dist", 0o755),
                ("/usr/bin/docker.dist", 0o755)
            ]),
            ["link /sbin/docker -> docker.dist", "link /usr/bin/iptables -> iptables.dist"]
        );
        let private = "/usr/lib/dockerlaunch/bin/modprobe";
        assert_eq!(links_among(&[("/sbin/modprobe.dist", 0o755), (private, 0o755)]), [""; 0]);
        assert_eq!(links_among(&[("/sbin/modprobe.dist", 0o644)]), [""; 0]);
    }

    #[test]
    fn what_stands_in_the_way_is_left_alone() {
        let blocked = [("/sbin/modprobe", 0o644), ("/sbin/modprobe.dist", 0o755)];
        assert_eq!(links_among(&blocked), [""; 0]);
        let elsewhere = [&blocked[..], &[("/usr/bin/modprobe.dist", 0o755)]].concat();
        assert_eq!(links_among(&elsewhere), ["link /usr/bin/modprobe -> modprobe.dist"]);
    }
}
