//! Options and storage drivers that today's dockerd no longer knows, with what to use instead.
//!
//! Source: docker/cli `docs/deprecated.md` (removed in the release named here).

use super::options;
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
        names: &["--exec-driver", "-e"],
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

/// `overlay` became `overlay2`, see [`super::Engine`].
const DRIVERS: &[(&str, &str)] = &[("aufs", "24.0"), ("devicemapper", "25.0")];

/// Beginnings of values of `--storage-opt`.
const STORAGE_OPTIONS: &[(&str, &str)] = &[("overlay2.override_kernel_check", "24.0"), ("dm.", "25.0")];

/// The first option that newer engines no longer have.
pub(super) fn find_later(args: &[String]) -> Option<Problem> {
    options::scan(args).find_map(|given| {
        let removed = LATER.iter().find(|r| r.names.contains(&given.name))?;
        Some(
            Problem::new(format!("since Docker {} dockerd does not know `{}`", removed.release, given.name))
                .hint(removed.instead),
        )
    })
}

/// The first option that is gone.
pub(super) fn find(args: &[String]) -> Option<Problem> {
    options::scan(args).find_map(|given| {
        let gone =
            |what: String, release: &str| Problem::new(what).cause(format!("removed in Docker {release}"));
        if let Some(removed) = OPTIONS.iter().find(|r| r.names.contains(&given.name)) {
            let what = format!("dockerd no longer knows `{}`", given.name);
            return Some(gone(what, removed.release).hint(removed.instead));
        }
        let value = given.value?;
        match given.name {
            "-s" | "--storage-driver" => find_driver(value),
            "--storage-opt" => {
                let (_, release) = STORAGE_OPTIONS.iter().find(|(option, _)| value.starts_with(option))?;
                let what = format!("dockerd no longer knows `--storage-opt {value}`");
                Some(gone(what, release).hint("drop it: overlay2 needs no option"))
            }
            _ => None,
        }
    })
}

/// A storage driver that is gone.
pub(super) fn find_driver(name: &str) -> Option<Problem> {
    let (driver, release) = DRIVERS.iter().find(|(driver, _)| *driver == name)?;
    Some(
        Problem::new(format!("dockerd no longer has the storage driver `{driver}`"))
            .cause(format!("removed in Docker {release}"))
            .remedy("use overlay2", "--storage-driver overlay2"),
    )
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
            "-saufs",
            "-e lxc",
            "--storage-opt overlay2.override_kernel_check=true",
            "--storage-opt=dm.basesize=20G",
        ] {
            assert!(what(words).is_some(), "{words}");
        }
        // Still known by 28.5, if only for compatibility, or values of other options.
        for words in [
            "--storage-driver overlay2 --storage-opt overlay2.size=1G --label restart=-x",
            "-r=true",
            "--restart",
            "--label --cluster-store",
            "--label -e",
            "-- --cluster-store x",
        ] {
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
