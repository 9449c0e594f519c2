//! `from-scratch`: builds the Docker image and runs it, on a host that has no container engine.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod commands;
mod launcher;
mod progress;
mod report;
mod sandbox;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", report::render(&error));
            ExitCode::from(1)
        }
    }
}
