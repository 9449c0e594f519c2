//! What must work wherever the image runs. One area a file; each area is a table.
//!
//! A scenario starts from an engine that has the image [`crate::image::BOX`] and whatever earlier scenarios left; it
//! uses names of its own and removes what it made.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};

use crate::{Environment, Need, interrupt, suite};

pub mod building;
pub mod buildkit;
pub mod compose;
pub mod engine;
pub mod git;
pub mod images;
pub mod limits;
pub mod logging;
pub mod networks;
pub mod optional;
pub mod registry;
pub mod reports;
pub mod restart;
pub mod rules;
pub mod running;
pub mod security;
pub mod storage;
pub mod supervising;
pub mod swarm;
pub mod zombies;

/// One thing that a user does, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// `area::what`.
    pub name: &'static str,
    /// What it proves, in one line.
    pub proves: &'static str,
    /// What it needs beyond its environment.
    pub needs: &'static [Need],
    /// Components that the environment's image must have besides those of the default profile.
    pub image: &'static [&'static str],
    /// Takes long: see [`crate::suite::Suite::long`].
    pub long: bool,
    /// Does it.
    pub run: fn(&dyn Environment) -> Result<()>,
}

/// Areas that any environment must pass.
pub const SCENARIOS: &[&[Scenario]] = &[
    engine::SCENARIOS,
    images::SCENARIOS,
    running::SCENARIOS,
    networks::SCENARIOS,
    rules::SCENARIOS,
    storage::SCENARIOS,
    limits::SCENARIOS,
    supervising::SCENARIOS,
    logging::SCENARIOS,
    swarm::SCENARIOS,
    security::SCENARIOS,
    building::SCENARIOS,
    git::SCENARIOS,
    registry::SCENARIOS,
    reports::SCENARIOS,
    zombies::SCENARIOS,
    restart::SCENARIOS,
];

/// Areas that an image with more components must pass; there `docker build` is another program than in the rest.
pub const EXTRAS: &[&[Scenario]] = &[buildkit::SCENARIOS, compose::SCENARIOS, optional::SCENARIOS];

/// A scenario without needs of its own: most of them.
const fn scenario(
    name: &'static str,
    proves: &'static str,
    run: fn(&dyn Environment) -> Result<()>,
) -> Scenario {
    Scenario { name, proves, needs: &[], image: &[], long: false, run }
}

impl Scenario {
    /// Does it. One that fails must not be in the way of the next.
    pub fn run_in(&self, environment: &dyn Environment) -> Result<()> {
        let result = catch_unwind(AssertUnwindSafe(|| (self.run)(environment)))
            .unwrap_or_else(|_| Err(anyhow!("it panicked")));
        if result.is_err()
            && !interrupt::is_asked()
            && let Err(error) = sweep(environment)
        {
            eprintln!("error: clearing up after `{}`: {}", self.name, suite::told(&error));
        }
        result
    }

    const fn needs(self, needs: &'static [Need]) -> Self {
        Scenario { needs, ..self }
    }

    const fn image(self, image: &'static [&'static str]) -> Self {
        Scenario { image, ..self }
    }

    const fn long(self) -> Self {
        Scenario { long: true, ..self }
    }
}

/// What a scenario that failed left behind must not be in the way of the next one.
pub(crate) fn sweep(environment: &dyn Environment) -> Result<()> {
    environment.try_docker(&["swarm", "leave", "--force"])?;
    let containers = environment.docker(&["ps", "--all", "--quiet"])?;
    let containers: Vec<&str> = containers.split_whitespace().collect();
    if !containers.is_empty() {
        environment.remove(&containers)?;
    }
    environment.docker(&["network", "prune", "--force"])?;
    environment.docker(&["volume", "prune", "--all", "--force"]).map(drop)
}

/// The components that these need of the image, for `--with`.
pub fn components<'a>(scenarios: impl Iterator<Item = &'a Scenario>) -> String {
    let names: std::collections::BTreeSet<&str> =
        scenarios.flat_map(|scenario| scenario.image).copied().collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_their_area() {
        let names: Vec<&str> = crate::environments::scenarios().map(|scenario| scenario.name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.contains("::")), "{names:?}");
    }

    #[test]
    fn the_default_image_is_enough_for_all_but_the_extras() {
        assert_eq!(components(SCENARIOS.iter().copied().flatten()), "");
        assert!(EXTRAS.iter().copied().flatten().all(|scenario| !scenario.image.is_empty()));
        let extras = components(EXTRAS.iter().copied().flatten());
        assert_eq!(extras, "buildx,compose,crun,ext4,fuse-overlayfs,nft,pigz,shell");
    }
}
