//! Writes down what a launch spends its time on, and reads it again for `report`.

use std::fs;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use dockerlaunch_plan::report::{MARKS, REPORT, Report, Who, marks_in_log};
use dockerlaunch_plan::{Problem, render};

use crate::atomic;

/// A launch that goes on.
#[derive(Debug)]
pub struct Timeline {
    begun: Instant,
    clock: Duration,
    report: Report,
}

impl Default for Timeline {
    /// It begins now.
    fn default() -> Self {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { begun: Instant::now(), clock, report: Report::new(clock) }
    }
}

impl Timeline {
    /// This took from then until now.
    pub(crate) fn took(&mut self, who: Who, what: &str, start: Instant) {
        self.report.add(who, what, self.since(start), self.begun.elapsed());
    }

    /// Each of these steps took until the next one, the last until now.
    pub(crate) fn steps(&mut self, steps: &[(&'static str, Instant)]) {
        let ends = steps.iter().skip(1).map(|(_, start)| self.since(*start)).chain([self.begun.elapsed()]);
        for ((id, start), end) in steps.iter().zip(ends.collect::<Vec<_>>()) {
            let start = self.since(*start);
            self.report.add(Who::Step, *id, start, end);
        }
    }

    fn since(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.begun)
    }

    /// The engine, started then, is ready now. What it did meanwhile, the times of its files show, and its log where that
    /// passes through our hands.
    pub(crate) fn ready(
        &mut self,
        start: Instant,
        exec_root: &str,
        own_containerd: Option<&str>,
        log: &[String],
    ) {
        let changed = |path: &str| {
            let time = fs::symlink_metadata(path).ok()?.modified().ok()?;
            time.duration_since(SystemTime::UNIX_EPOCH).ok()
        };
        let of_file = |(path, what): &(&str, &'static str)| {
            let path = if path.starts_with('/') { (*path).to_owned() } else { format!("{exec_root}/{path}") };
            Some((changed(&path)?, *what))
        };
        let mut marks: Vec<_> = MARKS.iter().filter_map(of_file).collect();
        for (at, what) in marks_in_log(log) {
            marks.retain(|(_, other)| *other != what);
            marks.push((at, what));
        }
        let since = |(at, what): (Duration, _)| (at.saturating_sub(self.clock), what);
        let marks = marks.into_iter().map(since).collect();
        let beside = own_containerd.and_then(changed).map(|at| at.saturating_sub(self.clock));
        self.report.ready(self.since(start), self.begun.elapsed(), beside, marks);
        self.write();
    }

    /// Leaves it for `report`. Where /run cannot be written there is none.
    pub(crate) fn write(&self) {
        let _ = atomic::replace(REPORT, render::json(&self.report).as_bytes(), 0o644);
    }
}

/// The last launch in this system.
///
/// # Errors
/// There is no record of one, or it cannot be read.
pub fn read() -> Result<Report, Problem> {
    let problem = |cause: String| {
        Problem::new("there is no record of a launch here").cause(format!("{REPORT}: {cause}")).remedy(
            "ask where the launcher has started an engine",
            "docker exec CONTAINER dockerlaunch report",
        )
    };
    let text = fs::read_to_string(REPORT).map_err(|error: io::Error| problem(error.to_string()))?;
    Report::parse(&text).ok_or_else(|| problem("it is no report".to_owned()))
}
