//! Options and storage drivers that today's dockerd no longer knows, with what to use instead.
//!
//! Source: docker/cli `docs/deprecated.md` (removed in the release named here).

use crate::Problem;

struct Removed {
    names: &'static [&'static str],
    release: &'static str,
    instead: &'static str,
}

/// Gone from every engine that the image can be built with (26.1 is the oldest).
const OPTIONS: &[Removed] = &[
    Removed {
        names: &["--api-enable-cors"],
        release: "17.09",
        instead: "put a reverse proxy that sets CORS headers before the API",
    },
    Removed {
        names: &["--cluster-store", "--cluster-advertise", "--cluster-store-opt"],
        release: "23.0",
        instead: "use swarm mode (`docker swarm init`)",
    },
    Removed {
        names: &["--disable-legacy-registry"],
        release: "19.03",
        instead: "drop it: registries of version 1 are gone",
    },
    Removed {
        names: &["--exec-driver"],
        release: "1.13",
        instead: "drop it: containers run with runc; see `--add-runtime`",
    },
];

/// Gone from newer engines only: told when the engine has failed.
const LATER: &[Removed] = &[
    Removed {
        names: &["--api-cors-header"],
        release: "28.0",
        instead: "put a reverse proxy that sets CORS headers before the API",
    },
    Removed {
        names: &["--oom-score-adjust"],
        release: "25.0",
        instead: "set the score of this process before the launch",
    },
];

const DRIVERS: &[(&str, &str)] = &[("aufs", "24.0"), ("devicemapper", "25.0"), ("overlay", "24.0")];

/// The first option that newer engines no longer have.
pub(super) fn find_later(args: &[String]) -> Option<Problem> {
    args.iter().find_map(|arg| {
        let name = name_of(arg);
        let removed = LATER.iter().find(|r| r.names.contains(&name))?;
        Some(
            Problem::new(format!("since Docker {} dockerd does not know `{name}`", removed.release))
                .hint(removed.instead),
        )
    })
}

fn name_of(arg: &str) -> &str {
    arg.split_once('=').map_or(arg, |(name, _)| name)
}

/// The first option that is gone.
pub(super) fn find(args: &[String]) -> Option<Problem> {
    let mut previous = "";
    for arg in args {
        let name = name_of(arg);
        let gone = |r: &&Removed| r.names.contains(&name);
        if let Some(removed) = OPTIONS.iter().find(gone) {
            return Some(
                Problem::new(format!("dockerd no longer knows `{name}`"))
                    .cause(format!("removed in Docker {}", removed.release))
                    .hint(removed.instead),
            );
        }
        let driver =
            match (previous, arg.strip_prefix("--storage-driver=").or_else(|| arg.strip_prefix("-s="))) {
                (_, Some(driver)) => driver,
                ("--storage-driver" | "-s", None) => arg,
                _ => "",
            };
        if let Some((driver, release)) = DRIVERS.iter().find(|(d, _)| *d == driver) {
            return Some(
                Problem::new(format!("dockerd no longer has the storage driver `{driver}`"))
                    .cause(format!("removed in Docker {release}"))
                    .remedy("use overlay2", "--storage-driver overlay2"),
            );
        }
        previous = arg;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(words: &str) -> Option<String> {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        find(&args).map(|p| p.what)
    }

    #[test]
    fn removed_options_and_drivers_are_named() {
        for words in [
            "--cluster-store=etcd://x",
            "--cluster-store etcd://x",
            "--storage-driver aufs",
            "--storage-driver=devicemapper",
        ] {
            assert!(what(words).is_some(), "{words}");
        }
        // Still known by 28.5, if only for compatibility, or values of other options.
        for words in ["--storage-driver overlay2 --label restart=-x", "-r=true", "--restart", "--label -r"] {
            assert_eq!(what(words), None, "{words}");
        }
    }

    #[test]
    fn every_entry_has_a_remedy() {
        for removed in OPTIONS {
            let problem = find(&[removed.names[0].to_owned()]).expect("listed");
            assert!(!problem.hints.is_empty() && !removed.instead.is_empty());
        }
    }
}
