//! Output that never fails: a full disk or a closed pipe behind the log must not stop an engine.

use std::fmt::Arguments;
use std::io::Write;

use dockerlaunch_plan::masked;

/// Writes a line of the launcher's own to standard error.
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "dockerlaunch: {}", masked(&text.to_string()));
}

/// Writes text to standard error; as everything here, without the secrets in it.
pub fn error(text: &str) {
    let _ = std::io::stderr().lock().write_all(masked(text).as_bytes());
}

/// Writes data to standard output; false when nobody takes it.
pub fn data(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(masked(text).as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Like `eprintln!`, with our name before it.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;
