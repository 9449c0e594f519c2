//! `docker build` with the image's own client: no buildx in it, so the engine's classic builder.

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::image::{BOX, Tree};

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("building::from_a_directory", "a build from a directory: ARG, COPY, RUN, CMD", from_a_directory),
    scenario(
        "building::from_standard_input",
        "a build whose context is an archive on standard input",
        from_standard_input,
    ),
    scenario(
        "building::a_failing_step",
        "the status of a step that fails is in the build's error",
        a_failing_step,
    ),
];

fn dockerfile() -> String {
    format!(
        "FROM {BOX}\nARG WORD=nothing\nCOPY data /data\nRUN tr a-z A-Z < /data > /result && echo $WORD >> /result\n\
         CMD [\"/bin/cat\", \"/result\"]\n"
    )
}

fn from_a_directory(env: &dyn Environment) -> Result<()> {
    let context = env.exchange().directory("context")?;
    context.write("Dockerfile", dockerfile())?;
    context.write("data", "built\n")?;
    env.docker(&["build", "--build-arg", "WORD=argument", "-t", "from-directory", &context.inside])?;
    let result = env.docker(&["run", "--rm", "from-directory"])?;
    ensure!(result == "BUILT\nargument", "{result}");
    env.docker(&["rmi", "from-directory"]).map(drop)
}

fn from_standard_input(env: &dyn Environment) -> Result<()> {
    let mut context = Tree::default();
    context.file("Dockerfile", 0o644, dockerfile().as_bytes())?;
    context.file("data", 0o644, b"piped\n")?;
    env.docker_with_input(&["build", "-t", "from-stdin", "-"], &context.finish()?)?.success()?;
    let result = env.docker(&["run", "--rm", "from-stdin"])?;
    ensure!(result == "PIPED\nnothing", "{result}");
    env.docker(&["rmi", "from-stdin"]).map(drop)
}

/// A step's failure is the build's, with the step's status in the message.
fn a_failing_step(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!("FROM {BOX}\nRUN exit 6\n");
    let outcome = env.docker_with_input(&["build", "-"], dockerfile.as_bytes())?;
    ensure!(
        outcome.status != 0 && outcome.stderr.contains("code: 6"),
        "{}: {}",
        outcome.status,
        outcome.stderr
    );
    env.docker(&["container", "prune", "--force"]).map(drop)
}
