//! Proves files of the image: what `cargo xtask prove` starts when all that scenarios need is there.

use std::process::ExitCode;

use itest::prove::{self, Choice};
use itest::suite::told;

fn main() -> ExitCode {
    if let Some(code) = prove::run_alone() {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match Choice::parse(&words).and_then(|choice| prove::run(&choice)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}
