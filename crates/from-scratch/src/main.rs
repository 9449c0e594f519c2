//! `from-scratch`: builds the Docker image and runs it, on a host that has no container engine.

use std::process::ExitCode;

use clap::Parser;

/// Those of std panic when nobody reads any more, and a command must not stop half-way for that. Defined before the
/// modules, they are what every module means by these names.
macro_rules! println {
    ($($text:tt)*) => { crate::write_or_leave(&mut std::io::stdout().lock(), format_args!($($text)*), "\n") };
}
macro_rules! eprintln {
    ($($text:tt)*) => { crate::write_or_leave(&mut std::io::stderr().lock(), format_args!($($text)*), "\n") };
}
macro_rules! eprint {
    ($($text:tt)*) => { crate::write_or_leave(&mut std::io::stderr().lock(), format_args!($($text)*), "") };
}

fn write_or_leave(to: &mut dyn std::io::Write, text: std::fmt::Arguments<'_>, end: &str) {
    let _ = to.write_fmt(text).and_then(|()| to.write_all(end.as_bytes()));
}

mod cli;
mod commands;
mod launcher;
mod machine;
mod progress;
mod publish;
mod report;
mod sandbox;
mod signals;
mod spawn;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", report::render(&error));
            ExitCode::from(1)
        }
    }
}
