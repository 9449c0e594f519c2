//! One line of the results, and what follows from its samples.

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::interrupt;

/// Something that was measured: a sample a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// What the command line calls it; it may stand for several lines.
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) ours: Vec<f64>,
    /// The same engine without us, where there is such a thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) bare: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<Bar>,
}

/// What the design asks of a median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtMost(f64),
    /// This many times what the bare engine takes, and so much more.
    Times {
        factor: f64,
        plus: f64,
    },
    /// Less than the bare engine by this much.
    LessBy(f64),
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, unit: &str, ours: Vec<f64>) -> Self {
        let (name, unit) = (String::new(), unit.to_owned());
        Line { name, what: what.into(), unit, ours: rounded(ours), bare: Vec::new(), bar: None }
    }

    pub(crate) fn beside(self, bare: Vec<f64>) -> Self {
        Line { bare: rounded(bare), ..self }
    }

    pub(crate) fn bar(self, bar: Bar) -> Self {
        Line { bar: Some(bar), ..self }
    }

    pub(crate) fn ours(&self) -> f64 {
        median(&self.ours)
    }

    pub(crate) fn bare(&self) -> Option<f64> {
        (!self.bare.is_empty()).then(|| median(&self.bare))
    }

    /// Below 1 we are better.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.bare().map(|bare| self.ours() / bare)
    }

    /// The bar as a figure that ours may reach.
    pub(crate) fn limit(&self) -> Option<f64> {
        match self.bar? {
            Bar::AtMost(most) => Some(most),
            Bar::Times { factor, plus } => self.bare().map(|bare| bare * factor + plus),
            Bar::LessBy(less) => self.bare().map(|bare| bare - less),
        }
    }

    /// None: there is no bar.
    pub(crate) fn met(&self) -> Option<bool> {
        self.bar.map(|_| self.limit().is_some_and(|limit| self.ours() <= limit))
    }

    /// A figure of this line, as exact as it is worth reading.
    pub(crate) fn shown(&self, value: f64) -> String {
        let digits = match value.abs() {
            size if size < 10.0 => 2,
            size if size < 1000.0 => 1,
            _ => 0,
        };
        format!("{value:.digits$} {}", self.unit)
    }

    /// The bar in words.
    pub(crate) fn bar_shown(&self) -> Option<String> {
        let (bar, limit, unit) = (self.bar?, self.limit()?, &self.unit);
        Some(match bar {
            Bar::AtMost(most) => format!("{most} {unit}"),
            Bar::Times { factor, plus: 0.0 } => format!("{} (bare × {factor})", self.shown(limit)),
            Bar::Times { factor, plus } => {
                format!("{} (bare × {factor} + {plus} {unit})", self.shown(limit))
            }
            Bar::LessBy(less) => format!("{} (bare − {less} {unit})", self.shown(limit)),
        })
    }

    /// As the terminal shows it.
    pub(crate) fn row(&self) -> String {
        let bare = self.bare().zip(self.ratio());
        let bare = bare.map(|(bare, ratio)| format!("bare {}, {ratio:.2} ×", self.shown(bare)));
        let verdict = self.met().map(|met| if met { "met" } else { "MISSED" });
        let bar = self.bar_shown().zip(verdict).map(|(bar, verdict)| format!("bar {bar}: {verdict}"));
        let (what, ours) = (self.what.replace('`', ""), self.shown(self.ours()));
        let row =
            format!("{what:<62} {ours:>9}  {:<26}  {}", bare.unwrap_or_default(), bar.unwrap_or_default());
        row.trim_end().to_owned()
    }
}

/// The middle one, as one slow round says nothing. Of nothing it is no number, which meets no bar.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

/// Nothing here is measured to a millionth.
fn rounded(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| (value * 1e3).round() / 1e3).collect()
}

/// Seconds that something takes.
pub(super) fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// A sample a round.
pub(super) fn samples(rounds: usize, mut work: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    (0..rounds).map(|_| interrupt::check().and_then(|()| work())).collect()
}

/// Both in each round, and each of them first in every other one.
pub(super) fn turns<T>(
    rounds: usize,
    mut ours: impl FnMut() -> Result<T>,
    mut bare: impl FnMut() -> Result<T>,
) -> Result<(Vec<T>, Vec<T>)> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for ours_now in [round % 2 == 0, round % 2 == 1] {
            interrupt::check()?;
            if ours_now { with.push(ours()?) } else { without.push(bare()?) }
        }
    }
    Ok((with, without))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn line(bar: Bar) -> Line {
        Line::new("`x`", "ms", vec![12.0, 10.0, 500.0]).beside(vec![8.0, 12.0]).bar(bar)
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_of_medians_and_needs_something_beside() {
        assert_eq!(line(Bar::AtMost(1.0)).ratio(), Some(1.2));
        assert_eq!(Line::new("x", "ms", vec![1.0]).ratio(), None);
    }

    #[test]
    fn bars_are_met_up_to_their_limit() {
        for (bar, limit, met) in [
            (Bar::AtMost(12.0), 12.0, true),
            (Bar::AtMost(11.9), 11.9, false),
            (Bar::Times { factor: 1.1, plus: 1.0 }, 12.0, true),
            (Bar::Times { factor: 1.1, plus: 0.0 }, 11.0, false),
            (Bar::LessBy(-2.0), 12.0, true),
            (Bar::LessBy(1.0), 9.0, false),
        ] {
            assert_eq!((line(bar).limit(), line(bar).met()), (Some(limit), Some(met)), "{bar:?}");
        }
        assert_eq!(Line::new("x", "ms", vec![1.0]).met(), None);
        // What has nothing beside it cannot be so many times of that, and what was not measured meets nothing.
        let times = Bar::Times { factor: 9.0, plus: 9.0 };
        assert_eq!(Line::new("x", "ms", vec![1.0]).bar(times).met(), Some(false));
        assert_eq!(Line::new("x", "ms", vec![]).bar(Bar::AtMost(9.0)).met(), Some(false));
    }

    #[test]
    fn a_row_says_whether_the_bar_is_met() {
        let row = |bar| line(bar).row().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(row(Bar::AtMost(12.0)), "x 12.0 ms bare 10.0 ms, 1.20 × bar 12 ms: met");
        let times = Bar::Times { factor: 1.1, plus: 0.0 };
        assert_eq!(row(times), "x 12.0 ms bare 10.0 ms, 1.20 × bar 11.0 ms (bare × 1.1): MISSED");
        assert!(!Line::new("x", "s", vec![1.0]).row().contains("bar"));
    }

    #[test]
    fn they_take_turns_and_neither_is_always_first() {
        let order = RefCell::new(String::new());
        let go = |who: &str| {
            order.borrow_mut().push_str(who);
            Ok(order.borrow().len())
        };
        let (ours, bare) = turns(3, || go("o"), || go("b")).expect("turns");
        assert_eq!((&**order.borrow(), ours, bare), ("obboob", vec![1, 4, 5], vec![2, 3, 6]));
    }
}
