//! The `root_` tier: some files of the image are proved, others each day, and the prover itself.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use itest::Need;
use itest::prove::{self, Inventory, Requirement, Verdict};
use itest::suite::Suite;

/// Of the scenarios.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Busybox,
    Need::Registry,
    Need::GitServer,
    Need::Program("openssl"),
    Need::Program("ssh-keygen"),
    Need::Program("script"),
];

/// At some ten seconds a file.
const SAMPLE: usize = 3;

fn main() -> ExitCode {
    if let Some(code) = prove::run_alone() {
        return code;
    }
    Suite::new("root_prove", NEEDS)
        .test("sample", &[], || prove::sample(SAMPLE))
        .longest("claims_that_are_wrong", &[], claims_that_are_wrong)
        .run(|| Ok(()))
}

/// The prover finds out a symptom that is not shown, a scenario that passes without the file, and one that does not exist.
fn claims_that_are_wrong() -> Result<()> {
    let image = Inventory::build("")?;
    let ps = image.files.iter().find(|file| file.path.ends_with("/bin/ps")).context("no ps")?;
    let claim = |proof: &str, symptom: &str| Requirement {
        proofs: vec![proof.to_owned()],
        symptom: Some(symptom.to_owned()),
        ..ps.clone()
    };
    let top = "running::top_pain_29";
    let files = [
        claim(top, "executable file not found"),
        claim(top, "the sun rises in the west"),
        claim("engine::version", "executable file not found"),
        claim("engine::telepathy", "executable file not found"),
    ];
    let verdicts = prove::verdicts(&image, &files)?;
    let wanted = [Verdict::Proved, Verdict::FailsOtherwise, Verdict::PassesWithout, Verdict::NoProof];
    ensure!(verdicts == wanted, "{verdicts:?}");
    Ok(())
}
