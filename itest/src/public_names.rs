//! The paths that people, scripts and charts know, each of which leads to its program.

use anyhow::{Result, ensure};

use crate::Environment;
use crate::up::{Instance, Options};

const PRIVATE: &str = "/usr/lib/dockerlaunch/bin";

/// A program's name, arguments with which it says what it is and ends, what it says, and the directories that have the name.
/// In the private one is the program itself, unless that is named here too.
type Name = (&'static str, &'static [&'static str], &'static str, &'static [&'static str]);

const BIN: &str = "/usr/bin";
const LOCAL: &str = "/usr/local/bin";
const PLUGINS: &str = "/usr/libexec/docker/cli-plugins";

const NAMES: &[Name] = &[
    ("dockerlaunch", &["--version"], "dockerlaunch ", &[BIN]),
    ("dockerd", &["--version"], "Docker version ", &[BIN, LOCAL]),
    ("docker", &["--version"], "Docker version ", &[BIN, LOCAL]),
    ("docker-init", &["--version"], "tini version ", &[BIN, LOCAL]),
    ("docker-proxy", &["-v"], "docker-proxy ", &[BIN]),
    ("containerd", &["--version"], "containerd ", &[BIN]),
    ("containerd-shim-runc-v2", &["-v"], "containerd-shim-runc-v2:", &[BIN]),
    ("runc", &["--version"], "runc version ", &[BIN]),
    ("dockerd-entrypoint.sh", &["--version"], "Docker version ", &[PRIVATE, BIN, LOCAL]),
    ("docker-entrypoint.sh", &["--version"], "Docker version ", &[PRIVATE, BIN, LOCAL]),
    ("modprobe", &[], "modprobe: no module is named", &[PRIVATE]),
    ("docker-compose", &["version"], "Docker Compose version ", &[BIN, PLUGINS]),
    ("docker-buildx", &["version"], "github.com/docker/buildx ", &[PLUGINS]),
];

/// [`lead_to_programs`], in an instance of its own.
pub fn in_a_new_instance() -> Result<()> {
    let mut instance = Instance::start_bare("names", &Options::default())?;
    lead_to_programs(&instance)?;
    instance.tear_down()
}

/// Every name of every program that this image has.
pub fn lead_to_programs(env: &dyn Environment) -> Result<()> {
    let has = |program: &str| -> Result<bool> {
        let own = format!("{PRIVATE}/{program}");
        Ok(env.exec(&[&own, "version"], b"")?.status == 0)
    };
    for (program, args, says, directories) in NAMES {
        // Not in every profile.
        if directories.contains(&PLUGINS) && !has(program)? {
            continue;
        }
        for directory in *directories {
            let path = format!("{directory}/{program}");
            let outcome = env.exec(&[&[path.as_str()], *args].concat(), b"")?;
            let said = outcome.text() + &outcome.stderr;
            ensure!(said.starts_with(says), "`{path}` says: {said}");
        }
    }
    Ok(())
}
