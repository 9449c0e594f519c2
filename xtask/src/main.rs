//! The project's chores: `cargo xtask test | scenario | prove | bench | docs | pictures | size`.

use std::process::ExitCode;

use anyhow::{Result, bail};

mod bench;
mod count;
mod docs;
mod interrupt;
mod pictures;
mod process;
mod provision;
mod scenario;
mod size;
mod test;
mod tiers;

const HELP: &str = "\
cargo xtask test [--ci | --full] [--verbose] [TIER…]
    Runs the tests that this machine can run, installs what they need when root, and says what was left out and why.
    --ci       CI's set: nothing may be left out, all output is shown
    --full     everything, the long runs too
    --verbose  show the output of each tier, not only that of one that failed
cargo xtask scenario [--in NAME,…] [--list | --record] [PART OF A NAME…]
    Runs what users do with Docker in the environments named; `--in all` is each of them, `all,-vm`
    each but that one, `up` without it
    --list     names all scenarios and environments, and what they prove
    --record   writes the results to docs/scenarios.md
cargo xtask prove [--full] [--list | --record | --sample N] [PART OF A PATH | COMPONENT…]
    Takes each file of the image away alone and runs its scenario, which must fail as the data claims; records what is opened
    --full     also what is not in the default profile; a component that you name is proved without it
    --list     names files, scenarios and symptoms
    --record   writes the results to docs/requirements.md; without names, it proves all of it, as with --full
    --sample   so many files, others each day
cargo xtask bench [--rounds N] [NAME…]
    Ours and the same engine without us in turn, medians of ten, beside the bars of the design. The whole of it, in ten rounds,
    writes docs/bench/ and the table of docs/bench.md anew, and takes half an hour on a machine that does nothing else
cargo xtask docs [--image]
    Writes the generated parts of the documents anew
    --image    the sizes and the picture of the image too, out of a new one
cargo xtask pictures
    Takes the README's pictures anew (root)
cargo xtask size [--record]
    What the image weighs by component and package; fails when a file grew by more than 2 % that is of the same version, or ours
    --record   writes docs/size.json, which is what it is compared with
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut words: Vec<String>) -> Result<ExitCode> {
    if words.is_empty() || words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    match words.remove(0).as_str() {
        "test" => test::run(&test::Options::parse(words)?),
        name @ ("scenario" | "prove") => scenario::run(name, &words),
        "bench" => bench::run(&bench::Options::parse(words)?),
        "docs" => match words[..] {
            [] => docs::run(false),
            [ref word] if word == "--image" => docs::run(true),
            _ => bail!("`docs` takes `--image` alone"),
        },
        "pictures" => pictures::run(),
        "size" => match words[..] {
            [] => size::run(false),
            [ref word] if word == "--record" => size::run(true),
            _ => bail!("`size` takes `--record` alone"),
        },
        other => bail!("no task `{other}`; `cargo xtask --help` lists them"),
    }
}
