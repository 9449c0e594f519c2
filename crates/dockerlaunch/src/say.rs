//! Output that never fails: a full disk or a closed pipe behind the log must not stop an engine.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line of the launcher's own to standard error.
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "dockerlaunch: {text}");
}

/// Writes text as it is to standard error.
pub fn error(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes data to standard output; false when nobody takes it.
pub fn data(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Like `eprintln!`, with our name before it.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;
