//! Twenty instances at the same time.

use anyhow::Result;

use super::by_hand::ByHand;
use super::instance::{self, Instance, NAME};
use super::interrupt::pause;
use super::line::{Line, seconds, turns};
use super::memory::SETTLED;
use super::{Bench, processes};

const COUNT: usize = 20;

/// Their names begin so.
const CROWD: &str = "bench-crowd-";

/// Seconds until all answer, MB of all together, seconds until all are gone again.
type Round = [f64; 3];

/// The bare ones are inside an instance that is up, and does nothing, in the others' turns too.
pub(super) fn twenty(bench: &Bench) -> Result<Vec<Line>> {
    let around = Instance::new(bench, NAME)?;
    around.up()?;
    let (ours, bare) = turns(bench.few(), || ours(bench), || by_hand(&around))?;
    let line = |index: usize, what: &str, unit: &str| {
        let column = |rounds: &[Round]| rounds.iter().map(|round| round[index]).collect();
        Line::new(format!("{COUNT} instances at once: {what}"), unit, column(&ours)).beside(column(&bare))
    };
    Ok(vec![
        line(0, "until all answer", "s"),
        line(1, "memory of all", "MB"),
        line(2, "until all are gone", "s"),
    ])
}

/// All of them go at the same time, also when something went wrong.
struct Crowd<'a>(Vec<Instance<'a>>);

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        // Each tells its own error once more when it is dropped itself.
        let _ = instance::at_once(&self.0, Instance::down);
    }
}

fn ours(bench: &Bench) -> Result<Round> {
    let crowd: Result<_> = (1..=COUNT).map(|n| Instance::new(bench, &format!("{CROWD}{n}"))).collect();
    let crowd = Crowd(crowd?);
    let up = seconds(|| instance::at_once(&crowd.0, Instance::up))?;
    pause(SETTLED)?;
    let pids = crowd.0.iter().map(Instance::pid).collect::<Result<Vec<_>>>()?;
    let memory = weight(&pids)?;
    let down = seconds(|| instance::at_once(&crowd.0, Instance::down))?;
    instance::gone(bench, CROWD)?;
    Ok([up, memory, down])
}

fn by_hand(around: &Instance<'_>) -> Result<Round> {
    let crowd: Result<_> = (1..=COUNT).map(|n| ByHand::new(around, &format!("bare-{n}"))).collect();
    let mut crowd: Vec<ByHand> = crowd?;
    crowd.iter_mut().try_for_each(ByHand::prepared)?;
    let up = seconds(|| {
        crowd.iter_mut().try_for_each(ByHand::go)?;
        crowd.iter_mut().try_for_each(ByHand::answered)
    })?;
    pause(SETTLED)?;
    let pids = crowd.iter().map(ByHand::pid).collect::<Result<Vec<_>>>()?;
    let memory = weight(&pids)?;
    let down = seconds(|| {
        crowd.iter().try_for_each(ByHand::stop)?;
        crowd.iter_mut().try_for_each(ByHand::ended)
    })?;
    crowd.into_iter().try_for_each(ByHand::clear)?;
    Ok([up, memory, down])
}

fn weight(roots: &[i32]) -> Result<f64> {
    let all = processes::all()?;
    roots.iter().map(|root| processes::tree(&all, *root)).sum()
}
