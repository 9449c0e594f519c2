//! The places that scenarios run in, by name, and what cannot be had in some of them.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::build::IMAGE;
use crate::nested::{self, Nested};
use crate::scenarios::swarm;
use crate::up::{Instance, Options};
use crate::{EXTRAS, Environment, Need, SCENARIOS, Scenario, embedded, interrupt};

mod engines;
mod vm;

/// One of them.
#[derive(Debug)]
pub struct Place {
    /// For the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub is: &'static str,
    /// What it needs beyond a static busybox.
    pub needs: &'static [Need],
    /// By how much deadlines are longer there.
    pub patience: u32,
    /// Starts it, with the base image in it, and these components in our image beside those of the default profile.
    pub start: fn(&str) -> Result<Started>,
    /// Scenarios that no other place can run, as all others have this machine's kernel.
    pub own: &'static [&'static [Scenario]],
}

impl Place {
    /// Whether it has what this scenario is about.
    pub fn runs(&self, scenario: &Scenario) -> bool {
        let is_own = |place: &Place| place.own.iter().copied().flatten().any(|own| own.name == scenario.name);
        is_own(self) || !PLACES.iter().any(is_own)
    }
}

/// All scenarios, also those of one place.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    let own = PLACES.iter().flat_map(|place| place.own);
    SCENARIOS.iter().chain(own).chain(EXTRAS).copied().flatten()
}

/// One that runs. Dropping it takes it down.
pub struct Started {
    environment: Box<dyn Environment>,
    /// The engine around it.
    outer: Option<Arc<Instance>>,
    /// What is around it, with its version.
    pub outside: String,
}

/// All of them.
pub const PLACES: &[Place] = &[
    Place {
        name: "up",
        is: "under `from-scratch up --network none`",
        needs: &[Need::Root, Need::Program("script")],
        patience: 1,
        start: up,
        own: &[],
    },
    Place {
        name: "crun",
        is: "under `from-scratch up --network none --with crun`, with `DOCKERD_DEFAULT_RUNTIME=crun`",
        needs: &[Need::Root, Need::Program("script")],
        patience: 1,
        start: crun,
        own: &[],
    },
    Place {
        name: "nested",
        is: "a privileged container of our own engine, under `up`",
        needs: &[Need::Root, Need::Program("script")],
        patience: 1,
        start: nested,
        own: &[],
    },
    Place {
        name: "docker20",
        is: "a privileged container of bookworm's Docker, which our launcher starts under `up`; with IPv6 (`--sysctl net.ipv6.conf.all.disable_ipv6=0`); \
             where root itself lacks CAP_SYS_RESOURCE, a wrapper of its runc takes that out of what it asks for",
        needs: &[Need::Root, Need::Program("script"), Need::Engines],
        patience: 1,
        start: engines::docker20,
        own: &[],
    },
    Place {
        name: "podman",
        is: "a privileged container of bookworm's podman, under `up`",
        needs: &[Need::Root, Need::Program("script"), Need::Engines],
        patience: 1,
        start: engines::podman,
        own: &[],
    },
    Place {
        name: "embedded",
        is: "our files in a Debian base, as a privileged container of our own engine",
        needs: &[Need::Root, Need::Program("script"), Need::Bookworm],
        patience: 1,
        start: embedded,
        own: &[],
    },
    Place {
        name: "vm",
        is: "the kernel's init in an emulated machine",
        needs: &[
            Need::Root,
            Need::Program("script"),
            Need::Kernel,
            Need::Program("qemu-system-x86_64"),
            Need::FileServer,
            Need::Program("cpio"),
            Need::Program("mke2fs"),
        ],
        patience: 6,
        start: vm::start,
        own: &[swarm::MESH],
    },
];

/// A scenario that cannot pass in an environment.
#[derive(Debug)]
pub struct Hole {
    /// The environment's name.
    pub place: &'static str,
    /// The scenario's name.
    pub scenario: &'static str,
    /// What its error says: another one is a failure.
    pub says: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// They run all the same: one that passes is no hole, and is an error.
pub const HOLES: &[Hole] = &[
    Hole {
        place: "crun",
        scenario: "engine::version",
        says: "no runc among",
        reason: "the engine names crun there",
    },
    Hole {
        place: "crun",
        scenario: "engine::info",
        says: "|crun|",
        reason: "the default runtime is not runc there",
    },
    Hole {
        place: "crun",
        scenario: "running::exit_codes_of_run",
        says: "exited 125, expected 126",
        reason: WORDS_OF_CRUN,
    },
    Hole {
        place: "crun",
        scenario: "running::exit_codes_of_exec",
        says: "exited 128, expected 126",
        reason: WORDS_OF_CRUN,
    },
    Hole {
        place: "docker20",
        scenario: "engine::no_shell",
        says: "exited 126, expected 127",
        reason: "Docker 20.10's own `exec` ends with 126, not 127, where there is no such program",
    },
    Hole {
        place: "embedded",
        scenario: "engine::no_shell",
        says: "exited 0, expected 127",
        reason: "the base brings a shell of its own",
    },
    Hole { place: "vm", scenario: "running::copy", says: OLD_KERNEL_SAYS, reason: OLD_KERNEL },
    Hole {
        place: "vm",
        scenario: "storage::a_thousand_files_copied",
        says: OLD_KERNEL_SAYS,
        reason: OLD_KERNEL,
    },
];

const WORDS_OF_CRUN: &str =
    "the client makes statuses of the words of runc's errors, and crun has others (docs/adr/0008)";

/// Its fallback looks for a `/proc` among the container's files.
const OLD_KERNEL_SAYS: &str = "via /proc/self/fd/";
const OLD_KERNEL: &str = "`docker cp` of a directory fails: this engine sets its mode with fchmodat2(2), which Linux has since 6.6";

/// Why this scenario cannot pass there.
pub fn hole(place: &str, scenario: &str) -> Option<&'static Hole> {
    HOLES.iter().find(|hole| hole.place == place && hole.scenario == scenario)
}

impl Started {
    fn new(environment: impl Environment + 'static, outer: Option<Arc<Instance>>, outside: String) -> Self {
        Started { environment: Box::new(environment), outer, outside }
    }

    /// What scenarios know of it.
    pub fn environment(&self) -> &dyn Environment {
        &*self.environment
    }

    /// Takes it down, and what is around it.
    pub fn take_down(mut self) -> Result<()> {
        let _undoing = interrupt::undoing();
        let inner = self.environment.take_down();
        drop(self.environment);
        let outer = self.outer.map_or(Ok(()), |outer| match Arc::into_inner(outer) {
            Some(mut outer) => outer.tear_down(),
            None => bail!("somebody still uses the engine outside"),
        });
        inner.and(outer)
    }
}

fn up(components: &str) -> Result<Started> {
    let with = ["--with", components];
    let up = if components.is_empty() { &[] } else { &with[..] };
    let instance = Instance::start_with("scenarios", &Options { up, ..Options::default() })?;
    Ok(Started::new(instance, None, "none".to_owned()))
}

fn crun(components: &str) -> Result<Started> {
    let components = ["crun", components].join(",");
    let components = components.trim_end_matches(',');
    let options = Options {
        up: &["--with", components],
        variables: &[("DOCKERD_DEFAULT_RUNTIME", "crun")],
        ..Options::default()
    };
    Ok(Started::new(Instance::start_with("scenarios-crun", &options)?, None, "none".to_owned()))
}

fn nested(components: &str) -> Result<Started> {
    let outer = Arc::new(nested::outer_with("scenarios-nested", &[], components)?);
    let inner = Nested::run(Arc::clone(&outer), "scenarios", IMAGE, &[])?.with_base_image()?;
    let outside = format!("our Docker {}", server_version(&*outer)?);
    Ok(Started::new(inner, Some(outer), outside))
}

fn embedded(components: &str) -> Result<Started> {
    let outer = Arc::new(nested::outer_with("scenarios-embedded", &[], components)?);
    embedded::import_bookworm(&outer)?;
    embedded::build(&outer, "scenarios", "bookworm", "embedded", true)?;
    let inner = Nested::run(Arc::clone(&outer), "scenarios", "embedded", &[])?.with_base_image()?;
    let outside = format!("our Docker {}, in a Debian base", server_version(&*outer)?);
    Ok(Started::new(inner, Some(outer), outside))
}

fn server_version(engine: &dyn Environment) -> Result<String> {
    engine.docker(&["version", "--format", "{{.Server.Version}}"]).context("asking for the engine's version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_names_what_exists_once_and_says_why() {
        for hole in HOLES {
            let (place, scenario) = (hole.place, hole.scenario);
            assert!(PLACES.iter().any(|known| known.name == place), "no environment `{place}`");
            assert!(
                scenarios().any(|known| known.name == scenario),
                "no scenario `{scenario}`, in which `{place}` has a hole"
            );
            assert!(hole.reason.len() > 10, "{hole:?} gives no reason");
            let same = HOLES.iter().filter(|other| other.place == place && other.scenario == scenario);
            assert_eq!(same.count(), 1, "{hole:?} is there twice");
        }
    }

    #[test]
    fn holes_are_few_and_none_is_in_ours() {
        for place in PLACES {
            let holes = HOLES.iter().filter(|hole| hole.place == place.name).count();
            let all = scenarios().filter(|scenario| place.runs(scenario)).count();
            let allowed = if ["up", "nested"].contains(&place.name) { 0 } else { all / 20 };
            assert!(holes <= allowed, "{}: {holes} holes in {all} scenarios", place.name);
        }
    }
}
