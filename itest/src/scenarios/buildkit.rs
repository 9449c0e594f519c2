//! `docker build` with BuildKit: the engine's own, which buildx in the image makes the client use.

use anyhow::{Result, ensure};

use super::{Scenario, git, scenario};
use crate::Environment;
use crate::image::BOX;

/// The area's table. No Dockerfile here has a `# syntax` line: it would be pulled from a registry.
pub const SCENARIOS: &[Scenario] = &[
    scenario("buildkit::is_the_builder", "`docker build` is BuildKit, and uses its cache", is_the_builder)
        .image(&["buildx"]),
    scenario(
        "buildkit::cache_mount",
        "a cache mount is there again in the next build, and not in the image",
        cache_mount,
    )
    .image(&["buildx"]),
    scenario(
        "buildkit::secret",
        "a step reads a secret, and neither the image nor its history has it",
        secret,
    )
    .image(&["buildx"]),
    scenario(
        "buildkit::here_document",
        "a step and a file stand in the Dockerfile as here-documents",
        here_document,
    )
    .image(&["buildx"]),
    scenario("buildkit::parallel_stages", "stages that wait for each other run at once", parallel_stages)
        .image(&["buildx"]),
    scenario(
        "buildkit::output_to_the_client",
        "a build's result comes out as files, without an image",
        output_to_the_client,
    )
    .image(&["buildx"]),
    scenario(
        "buildkit::from_a_repository",
        "a repository with a submodule in its submodule is built",
        from_a_repository,
    )
    .image(&["buildx"])
    .needs(git::NEEDS),
    scenario("buildkit::a_failing_step", "a step that fails is named with its status", a_failing_step)
        .image(&["buildx"]),
];

/// A build without a context: the Dockerfile comes on standard input. Returns what the builder said.
fn build(env: &dyn Environment, dockerfile: &str, options: &[&str]) -> Result<String> {
    let args = [&["build", "--progress", "plain"], options, &["-"]].concat();
    Ok(env.docker_with_input(&args, dockerfile.as_bytes())?.exits(0)?.stderr)
}

/// What builds leave in the engine besides images.
fn forget(env: &dyn Environment, images: &[&str]) -> Result<()> {
    env.docker(&[&["rmi"], images].concat())?;
    env.docker(&["builder", "prune", "--all", "--force"]).map(drop)
}

fn is_the_builder(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!("FROM {BOX}\nRUN cat /proc/sys/kernel/random/uuid > /once\n");
    let first = build(env, &dockerfile, &["-t", "kit-cached"])?;
    ensure!(first.contains("[internal] load build definition"), "this is no BuildKit: {first}");
    let once = env.docker(&["run", "--rm", "kit-cached", "cat", "/once"])?;
    let second = build(env, &dockerfile, &["-t", "kit-cached"])?;
    ensure!(second.lines().any(|line| line.ends_with(" CACHED")), "{second}");
    ensure!(env.docker(&["run", "--rm", "kit-cached", "cat", "/once"])? == once, "the step ran again");
    build(env, &dockerfile, &["-t", "kit-cached", "--no-cache"])?;
    ensure!(env.docker(&["run", "--rm", "kit-cached", "cat", "/once"])? != once, "--no-cache used the cache");
    forget(env, &["kit-cached"])
}

fn cache_mount(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!(
        "FROM {BOX}\nARG RUN_NUMBER\n\
         RUN --mount=type=cache,id=itest,target=/cache echo $RUN_NUMBER >> /cache/log && cp /cache/log /seen\n"
    );
    for number in ["1", "2"] {
        build(env, &dockerfile, &["-t", "kit-mounted", "--build-arg", &format!("RUN_NUMBER={number}")])?;
    }
    let seen = env.docker(&["run", "--rm", "kit-mounted", "sh", "-c", "cat /seen; ls /cache | wc -l"])?;
    ensure!(seen == "1\n2\n0", "what the second build saw, and how many files the image has: {seen}");
    forget(env, &["kit-mounted"])
}

/// The secret's hash is the witness that the step has read it.
fn secret(env: &dyn Environment) -> Result<()> {
    const SECRET: &str = "not-for-the-image-5f0c2a";
    let shared = env.exchange().directory("kit-secret")?;
    shared.write("token", SECRET)?;
    let dockerfile = format!(
        "FROM {BOX}\nRUN --mount=type=secret,id=token sha256sum < /run/secrets/token | cut -d ' ' -f 1 > /sum\n"
    );
    let source = format!("id=token,src={}/token", shared.inside);
    build(env, &dockerfile, &["-t", "kit-secret", "--secret", &source])?;
    let look = "cat /sum; ls /run/secrets 2>/dev/null; true";
    let witness = env.docker(&["run", "--rm", "kit-secret", "sh", "-c", look])?;
    let expected = env.docker(&["run", "--rm", BOX, "sh", "-c", &format!("printf {SECRET} | sha256sum")])?;
    ensure!(expected.starts_with(&format!("{witness} ")), "{witness} is not alone, or not of {expected}");
    let history = env.docker(&["history", "--no-trunc", "kit-secret"])?;
    ensure!(history.contains("sha256sum") && !history.contains(SECRET), "{history}");
    // Layers and configuration as they are, not compressed.
    let saved = env.try_docker(&["save", "kit-secret"])?.exits(0)?.stdout;
    let has = |text: &str| saved.windows(text.len()).any(|window| window == text.as_bytes());
    ensure!(has(&witness), "the archive does not even have the hash in plain text");
    ensure!(!has(SECRET), "the secret is in the image");
    // Without the secret there is nothing to read.
    let without = env.docker_with_input(
        &["build", "--no-cache", "--progress", "plain", "-"],
        dockerfile.replace("id=token", "id=token,required=true").as_bytes(),
    )?;
    ensure!(without.status != 0 && without.stderr.contains("token: not found"), "{}", without.stderr);
    forget(env, &["kit-secret"])
}

fn here_document(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!(
        "FROM {BOX}\nRUN <<EOF\nset -e\necho first > /result\necho second >> /result\nEOF\n\
         COPY --chmod=700 <<END /bin/greet\n#!/bin/sh\necho greetings\nEND\n"
    );
    build(env, &dockerfile, &["-t", "kit-here"])?;
    let said = env.docker(&["run", "--rm", "kit-here", "sh", "-c", "cat /result; greet"])?;
    ensure!(said == "first\nsecond\ngreetings", "{said}");
    forget(env, &["kit-here"])
}

/// Each of two stages waits for the other's file: one after the other, the first would wait in vain.
fn parallel_stages(env: &dyn Environment) -> Result<()> {
    let stage = |own: &str, other: &str| {
        format!(
            "FROM {BOX} AS {own}\n\
             RUN --mount=type=cache,id=itest-meeting,target=/meet touch /meet/{own}; \
             for i in $(seq 600); do test -e /meet/{other} && touch /{own} && exit; sleep 0.1; done; exit 1\n"
        )
    };
    let both = format!(
        "{}{}FROM {BOX}\nCOPY --from=left /left /\nCOPY --from=right /right /\n",
        stage("left", "right"),
        stage("right", "left")
    );
    build(env, &both, &["-t", "kit-parallel"])?;
    env.docker(&["run", "--rm", "kit-parallel", "ls", "/left", "/right"])?;
    forget(env, &["kit-parallel"])
}

fn output_to_the_client(env: &dyn Environment) -> Result<()> {
    let shared = env.exchange().directory("kit-output")?;
    let dockerfile =
        format!("FROM {BOX} AS maker\nRUN echo made > /thing\nFROM scratch\nCOPY --from=maker /thing /\n");
    let before = env.docker(&["images", "-aq"])?;
    build(env, &dockerfile, &["-o", &format!("type=local,dest={}/out", shared.inside)])?;
    ensure!(std::fs::read_to_string(shared.outside.join("out/thing"))? == "made\n");
    ensure!(env.docker(&["images", "-aq"])? == before, "an image was made too");
    env.docker(&["builder", "prune", "--all", "--force"]).map(drop)
}

fn a_failing_step(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!("FROM {BOX}\nRUN exit 6\n");
    let outcome = env.docker_with_input(&["build", "-"], dockerfile.as_bytes())?;
    ensure!(
        outcome.status != 0 && outcome.stderr.contains("exit code: 6"),
        "{}: {}",
        outcome.status,
        outcome.stderr
    );
    Ok(())
}

/// The engine runs git, and hands it nothing of its environment but PATH.
fn from_a_repository(env: &dyn Environment) -> Result<()> {
    let server = git::Server::start(env)?;
    env.docker(&["build", "-t", "kit-repository", &server.by_http()])?;
    server.is_whole("kit-repository")?;
    env.docker(&["builder", "prune", "--all", "--force"])?;
    server.end()
}
