//! The launcher's own log. It neither fails nor waits: a full disk, a closed pipe or a log that nobody reads must not
//! stop an engine.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use dockerlaunch_plan::config::Settings;
use dockerlaunch_plan::config::settings::{LogFormat, LogLevel};
use dockerlaunch_plan::{Problem, log, masked};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

static JSON: AtomicBool = AtomicBool::new(false);
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// How long a line waits for a reader before it is given up.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Takes form and level from the settings.
pub fn configure(settings: &Settings) {
    JSON.store(settings.log_format == LogFormat::Json, Ordering::Relaxed);
    LEVEL.store(settings.log_level as u8, Ordering::Relaxed);
}

/// Whether lines of this level are written.
pub fn wants(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

fn format() -> LogFormat {
    if JSON.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Writes a line of the launcher's own to standard error.
pub(crate) fn line(level: LogLevel, step: Option<&str>, text: Arguments<'_>) {
    if wants(level) {
        write(&log::line(format(), level, step, &text.to_string(), now()));
    }
}

/// Writes a line that an operator wants to see.
pub fn info(text: &str) {
    line(LogLevel::Info, None, format_args!("{text}"));
}

/// Tells a problem.
pub fn problem(problem: &Problem) {
    problems(std::slice::from_ref(problem));
}

/// Tells several, an empty line between them where people read.
pub fn problems(problems: &[Problem]) {
    let text: Vec<String> = problems.iter().map(|problem| log::problem(format(), problem, now())).collect();
    write(&text.join(if format() == LogFormat::Text { "\n" } else { "" }));
}

/// Writes text to standard error, without the secrets in it.
pub fn error(text: &str) {
    write(&masked(text));
}

fn write(text: &str) {
    let stderr = std::io::stderr();
    // A pipe that can be written takes this much without waiting (pipe(7), `PIPE_BUF`).
    for piece in text.as_bytes().chunks(4096) {
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        if poll(&mut ready, Some(&PATIENCE)) == Ok(0) || stderr.lock().write_all(piece).is_err() {
            return;
        }
    }
}

/// Writes data, which holds no secrets any more, to standard output; false when nobody takes it.
pub fn data(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// `say!(Warn, "…")`, or with the step that it is about: `say!(Info["cgroup"], "…")`.
macro_rules! say {
    ($level:ident [$step:expr], $($text:tt)*) => {
        $crate::say::line(dockerlaunch_plan::config::settings::LogLevel::$level, Some($step), format_args!($($text)*))
    };
    ($level:ident, $($text:tt)*) => {
        $crate::say::line(dockerlaunch_plan::config::settings::LogLevel::$level, None, format_args!($($text)*))
    };
}
pub(crate) use say;
