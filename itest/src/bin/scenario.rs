//! Runs scenarios in environments: what `cargo xtask scenario` starts when all that they need is there.

use std::process::ExitCode;

use itest::agent;
use itest::runner::{self, Choice};
use itest::suite::told;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == [agent::WORD] {
        return agent::serve().unwrap_or(ExitCode::FAILURE);
    }
    match Choice::parse(&words).and_then(|choice| runner::run(&choice)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}
