//! What goes wrong from outside, and what must hold all the same. One area a file; each area is a table.
//!
//! A fault brings the instance that it breaks. Around each of them, and around all, [`crate::traces`] compares the host before and
//! after. Every wait has a deadline: a hang is a failure with a name.

use anyhow::{Context, Result};

use crate::{Need, traces};

mod acknowledged;
mod client;
pub mod clock;
pub mod connections;
pub mod disk;
mod inside;
pub mod interface;
pub mod killing;
pub mod limits;
mod operations;
mod registry;
pub mod stopping;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// `area::what`.
    pub name: &'static str,
    /// What must hold afterwards, in one line.
    pub holds: &'static str,
    /// What it needs beyond root and a busybox.
    pub needs: &'static [Need],
    /// It runs each time; of the others one a day does.
    pub often: bool,
    /// Does it, and looks.
    run: fn() -> Result<()>,
}

/// All but the clock's, which needs a machine of its own.
pub const FAULTS: &[&[Fault]] = &[
    killing::FAULTS,
    stopping::FAULTS,
    disk::FAULTS,
    connections::FAULTS,
    limits::FAULTS,
    interface::FAULTS,
];

impl Fault {
    /// Does it, and looks whether what must hold does, and whether anything is left of it on the host.
    pub fn run(&self) -> Result<()> {
        let before = traces::Traces::look()?;
        traces::at_first(&before);
        let must_hold = || format!("must hold: {}", self.holds);
        (self.run)().with_context(must_hold)?;
        before.nothing_new().with_context(must_hold)
    }
}

/// One that runs now and then.
const fn fault(name: &'static str, holds: &'static str, run: fn() -> Result<()>) -> Fault {
    Fault { name, holds, needs: &[], often: false, run }
}

/// One that is quick, and runs each time.
const fn often(name: &'static str, holds: &'static str, run: fn() -> Result<()>) -> Fault {
    Fault { often: true, ..fault(name, holds, run) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_their_area() {
        let names: Vec<&str> = FAULTS.iter().copied().flatten().map(|fault| fault.name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.contains("::")), "{names:?}");
    }
}
