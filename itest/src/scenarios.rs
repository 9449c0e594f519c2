//! What must work wherever the image runs. One area a file; each area is a table.
//!
//! A scenario starts from an engine that has the image [`crate::image::BOX`] and whatever earlier scenarios left; it
//! uses names of its own and removes what it made.

use anyhow::Result;

use crate::{Environment, Need};

pub mod building;
pub mod engine;
pub mod images;
pub mod limits;
pub mod logging;
pub mod networks;
pub mod reports;
pub mod restart;
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
    /// Does it.
    pub run: fn(&dyn Environment) -> Result<()>,
}

/// Areas that any environment must pass.
pub const SCENARIOS: &[&[Scenario]] = &[
    engine::SCENARIOS,
    images::SCENARIOS,
    running::SCENARIOS,
    networks::SCENARIOS,
    storage::SCENARIOS,
    limits::SCENARIOS,
    supervising::SCENARIOS,
    logging::SCENARIOS,
    swarm::SCENARIOS,
    security::SCENARIOS,
    building::SCENARIOS,
    reports::SCENARIOS,
    zombies::SCENARIOS,
    restart::SCENARIOS,
];

/// A scenario without needs of its own: most of them.
const fn scenario(
    name: &'static str,
    proves: &'static str,
    run: fn(&dyn Environment) -> Result<()>,
) -> Scenario {
    Scenario { name, proves, needs: &[], run }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_their_area() {
        let names: Vec<&str> = SCENARIOS.iter().copied().flatten().map(|scenario| scenario.name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.contains("::")), "{names:?}");
    }
}
