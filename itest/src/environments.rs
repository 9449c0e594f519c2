//! The places that scenarios run in, by name, and what cannot be had in some of them.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::build::IMAGE;
use crate::nested::{self, Nested};
use crate::up::Instance;
use crate::{Environment, Need, embedded, interrupt};

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
    /// Starts it, with the base image in it.
    pub start: fn() -> Result<Started>,
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
    },
    Place {
        name: "nested",
        is: "a privileged container of our own engine, under `up`",
        needs: &[Need::Root, Need::Program("script")],
        patience: 1,
        start: nested,
    },
    Place {
        name: "docker20",
        is: "a privileged container of bookworm's Docker, which our launcher starts under `up`",
        needs: &[Need::Root, Need::Program("script"), Need::Engines],
        patience: 1,
        start: engines::docker20,
    },
    Place {
        name: "podman",
        is: "a privileged container of bookworm's podman, under `up`",
        needs: &[Need::Root, Need::Program("script"), Need::Engines],
        patience: 1,
        start: engines::podman,
    },
    Place {
        name: "embedded",
        is: "our files in a Debian base, as a privileged container of our own engine",
        needs: &[Need::Root, Need::Program("script"), Need::Bookworm],
        patience: 1,
        start: embedded,
    },
    Place {
        name: "vm",
        is: "the kernel's init in an emulated machine",
        needs: &[
            Need::Root,
            Need::Program("script"),
            Need::Kernel,
            Need::Program("qemu-system-x86_64"),
            Need::Program("cpio"),
            Need::Program("mke2fs"),
        ],
        patience: 6,
        start: vm::start,
    },
];

/// A scenario that cannot pass in an environment.
#[derive(Debug)]
pub struct Hole {
    /// The environment's name.
    pub place: &'static str,
    /// The scenario's name.
    pub scenario: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// They run all the same: one that passes is no hole, and is an error.
pub const HOLES: &[Hole] = &[
    Hole {
        place: "docker20",
        scenario: "engine::no_shell",
        reason: "Docker 20.10's own `exec` ends with 126, not 127, where there is no such program",
    },
    Hole { place: "embedded", scenario: "engine::no_shell", reason: "the base brings a shell of its own" },
];

/// Why this scenario cannot pass there.
pub fn hole(place: &str, scenario: &str) -> Option<&'static str> {
    HOLES.iter().find(|hole| hole.place == place && hole.scenario == scenario).map(|hole| hole.reason)
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

fn up() -> Result<Started> {
    Ok(Started::new(Instance::start("scenarios")?, None, "none".to_owned()))
}

fn nested() -> Result<Started> {
    let outer = Arc::new(nested::outer("scenarios-nested")?);
    let inner = Nested::run(Arc::clone(&outer), "scenarios", IMAGE, &[])?.with_base_image()?;
    let outside = format!("our Docker {}", server_version(&*outer)?);
    Ok(Started::new(inner, Some(outer), outside))
}

fn embedded() -> Result<Started> {
    let outer = Arc::new(nested::outer("scenarios-embedded")?);
    embedded::import_bookworm(&outer)?;
    embedded::build(&outer, "scenarios", "bookworm", "embedded")?;
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
    use crate::SCENARIOS;

    #[test]
    fn a_hole_names_what_exists_once_and_says_why() {
        for hole in HOLES {
            let (place, scenario) = (hole.place, hole.scenario);
            assert!(PLACES.iter().any(|known| known.name == place), "no environment `{place}`");
            assert!(
                SCENARIOS.iter().copied().flatten().any(|known| known.name == scenario),
                "no scenario `{scenario}`, in which `{place}` has a hole"
            );
            assert!(hole.reason.len() > 10, "{hole:?} gives no reason");
            let same = HOLES.iter().filter(|other| other.place == place && other.scenario == scenario);
            assert_eq!(same.count(), 1, "{hole:?} is there twice");
        }
    }

    #[test]
    fn holes_are_few_and_none_is_in_ours() {
        let all = SCENARIOS.iter().copied().flatten().count();
        for place in PLACES {
            let holes = HOLES.iter().filter(|hole| hole.place == place.name).count();
            let allowed = if ["up", "nested"].contains(&place.name) { 0 } else { all / 20 };
            assert!(holes <= allowed, "{}: {holes} holes in {all} scenarios", place.name);
        }
    }
}
