//! `docker build` with the image's own client: no buildx in it, so the engine's classic builder.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::{self, BOX, Packing, Tree};

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
    scenario(
        "building::dockerfile_on_standard_input",
        "a directory is built with a Dockerfile on standard input",
        dockerfile_on_standard_input,
    ),
    scenario("building::add_an_archive", "ADD unpacks archives, xz too, and COPY does not", add_an_archive),
    scenario("building::add_from_a_url", "ADD fetches a file from a server", add_from_a_url),
    scenario("building::dockerignore", "what .dockerignore names is not in the context", dockerignore),
    scenario("building::stages", "a stage takes files from another, and a build may end at a stage", stages),
    scenario(
        "building::arguments",
        "build arguments choose the base, and are not among the image's variables",
        arguments,
    ),
    scenario(
        "building::settings_of_an_image",
        "USER, WORKDIR, ENTRYPOINT, ENV, VOLUME and HEALTHCHECK of an image take effect",
        settings_of_an_image,
    ),
    scenario("building::cache", "a second build makes nothing anew but what changed", cache),
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

/// A build without a context: the Dockerfile comes on standard input. Returns what the builder said.
fn build(env: &dyn Environment, dockerfile: &str, options: &[&str]) -> Result<String> {
    let args = [&["build"], options, &["-"]].concat();
    env.docker_with_input(&args, dockerfile.as_bytes())?.success()
}

fn dockerfile_on_standard_input(env: &dyn Environment) -> Result<()> {
    let context = env.exchange().directory("context-of-stdin")?;
    context.write("data", "beside it\n")?;
    context.write("Dockerfile", "FROM no-such-image\n")?;
    let args = ["build", "-t", "from-both", "-f", "-", &context.inside];
    env.docker_with_input(&args, dockerfile().as_bytes())?.success()?;
    let result = env.docker(&["run", "--rm", "from-both"])?;
    ensure!(result == "BESIDE IT\nnothing", "{result}");
    env.docker(&["rmi", "from-both"]).map(drop)
}

fn add_an_archive(env: &dyn Environment) -> Result<()> {
    let mut content = Tree::default();
    content.directory("sub", 0o750)?;
    content.file("sub/file", 0o640, b"unpacked\n")?;
    let content = content.finish()?;
    let context = env.exchange().directory("context-of-archives")?;
    let mut dockerfile = format!("FROM {BOX}\n");
    for packing in [Packing::Plain, Packing::Gzip, Packing::Xz] {
        let name = format!("{packing:?}").to_lowercase();
        context.write(&name, image::pack(&content, packing)?)?;
        dockerfile += &format!("ADD {name} /added/{name}/\nCOPY {name} /copied/\n");
    }
    context.write("Dockerfile", dockerfile)?;
    env.docker(&["build", "-t", "added", &context.inside])?;
    let script = "cd /added; cat */sub/file; stat -c %a gzip/sub/file; ls /copied";
    let said = env.docker(&["run", "--rm", "added", "sh", "-c", script])?;
    ensure!(said == "unpacked\nunpacked\nunpacked\n640\ngzip\nplain\nxz", "{said}");
    env.docker(&["rmi", "added"]).map(drop)
}

/// The engine fetches it, from a container on its bridge.
fn add_from_a_url(env: &dyn Environment) -> Result<()> {
    let serve = "mkdir /www; echo fetched > /www/file; exec httpd -f -p 80 -h /www";
    env.docker(&["run", "-d", "--name", "origin", BOX, "sh", "-c", serve])?;
    let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    let address = env.docker(&["inspect", "--format", format, "origin"])?;
    let dockerfile = |path: &str| format!("FROM {BOX}\nADD http://{address}/{path} /downloads/\n");
    // The server may still be starting.
    eventually("the file is fetched", Duration::from_secs(30), || {
        build(env, &dockerfile("file"), &["-t", "fetched"]).map(|_| true)
    })?;
    let said = env.docker(&[
        "run",
        "--rm",
        "fetched",
        "sh",
        "-c",
        "cat /downloads/file; stat -c %a /downloads/file",
    ])?;
    ensure!(said == "fetched\n600", "{said}");
    let missing = env.docker_with_input(&["build", "-"], dockerfile("missing").as_bytes())?;
    ensure!(missing.status != 0 && missing.stderr.contains("404"), "{}", missing.stderr);
    env.remove(&["origin"])?;
    env.docker(&["rmi", "fetched"]).map(drop)
}

fn dockerignore(env: &dyn Environment) -> Result<()> {
    let context = env.exchange().directory("context-with-ignore")?;
    std::fs::create_dir(context.outside.join("logs"))?;
    for file in ["kept", "secret.key", "public.key", "logs/today", "logs/kept"] {
        context.write(file, file)?;
    }
    context.write(".dockerignore", "# comment\n*.key\n!public.key\nlogs/*\n!logs/kept\n.dockerignore\n")?;
    context.write("Dockerfile", format!("FROM {BOX}\nCOPY . /context\n"))?;
    env.docker(&["build", "-t", "ignoring", &context.inside])?;
    let found = env.docker(&["run", "--rm", "ignoring", "sh", "-c", "cd /context; find . -type f | sort"])?;
    ensure!(found == "./Dockerfile\n./kept\n./logs/kept\n./public.key", "{found}");
    env.docker(&["rmi", "ignoring"]).map(drop)
}

fn stages(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!(
        "FROM {BOX} AS maker\nRUN echo made > /product && echo waste > /waste\n\
         FROM {BOX} AS tester\nCOPY --from=maker /product /\nRUN grep -q made /product && echo tested > /report\n\
         FROM {BOX}\nCOPY --from=maker --chown=guest /product /srv/\nCOPY --from=1 /report /srv/\n"
    );
    build(env, &dockerfile, &["-t", "staged"])?;
    let script = "cat /srv/product /srv/report; stat -c %U /srv/product; ls /waste 2>/dev/null; true";
    let said = env.docker(&["run", "--rm", "staged", "sh", "-c", script])?;
    ensure!(said == "made\ntested\nguest", "{said}");
    build(env, &dockerfile, &["-t", "staged", "--target", "maker"])?;
    let said = env.docker(&["run", "--rm", "staged", "cat", "/product", "/waste"])?;
    ensure!(said == "made\nwaste", "with --target maker: {said}");
    env.docker(&["rmi", "staged"])?;
    env.docker(&["image", "prune", "--force"]).map(drop)
}

fn arguments(env: &dyn Environment) -> Result<()> {
    let dockerfile = "ARG BASE=no-such-image\nFROM $BASE\nARG LEVEL=1\nARG NAME\nENV KEPT=level-$LEVEL\n\
                      RUN echo \"$NAME $HTTP_PROXY $LEVEL\" > /seen\nRUN test -z \"$UNKNOWN\"\n";
    let mut options = vec!["-t", "argued"];
    let base = format!("BASE={BOX}");
    for argument in [&base, "NAME=someone", "HTTP_PROXY=http://proxy.invalid", "LEVEL=2"] {
        options.extend(["--build-arg", argument]);
    }
    build(env, dockerfile, &options)?;
    let script = "cat /seen; echo $KEPT $NAME $HTTP_PROXY $LEVEL";
    let said = env.docker(&["run", "--rm", "argued", "sh", "-c", script])?;
    ensure!(said == "someone http://proxy.invalid 2\nlevel-2", "{said}");
    // An argument that the Dockerfile does not declare is an error to nobody, and said.
    let outcome = env.docker_with_input(
        &[&["build", "--build-arg", "UNKNOWN=x"], &options[..], &["-"]].concat(),
        dockerfile.as_bytes(),
    )?;
    let outcome = outcome.exits(0)?;
    let text = format!("{}{}", outcome.text(), outcome.stderr);
    ensure!(text.contains("[UNKNOWN] were not consumed"), "{text}");
    env.docker(&["rmi", "argued"]).map(drop)
}

fn settings_of_an_image(env: &dyn Environment) -> Result<()> {
    let dockerfile = format!(
        "FROM {BOX}\nENV GREETING=hello\nRUN mkdir /data && echo of the image > /data/file\nVOLUME /data\nWORKDIR /srv/deep\n\
         RUN chown guest . \nUSER guest\nSTOPSIGNAL SIGUSR1\nEXPOSE 8080/tcp\n\
         HEALTHCHECK --interval=1s --timeout=20s --retries=1 CMD test -e /srv/deep/well\n\
         ENTRYPOINT [\"sh\", \"-c\", \"eval \\\"$*\\\"\", \"entry\"]\nCMD [\"id -un; pwd; echo $GREETING\"]\n"
    );
    build(env, &dockerfile, &["-t", "settled"])?;
    let said = env.docker(&["run", "--rm", "settled"])?;
    ensure!(said == "guest\n/srv/deep\nhello", "{said}");
    let said = env.docker(&[
        "run",
        "--rm",
        "--user",
        "root",
        "-w",
        "/tmp",
        "settled",
        "id -un; pwd; cat /data/file",
    ])?;
    ensure!(said == "root\n/tmp\nof the image", "with options of its own: {said}");

    let wait = "trap 'echo told; exit 3' USR1; while :; do sleep 0.1; done";
    env.docker(&["run", "-d", "--name", "settled", "settled", wait])?;
    let health = |expected: &str| {
        eventually(&format!("the container is {expected}"), Duration::from_secs(60), || {
            Ok(env.docker(&["inspect", "--format", "{{.State.Health.Status}}", "settled"])? == expected)
        })
    };
    health("unhealthy")?;
    env.docker(&["exec", "settled", "touch", "/srv/deep/well"])?;
    health("healthy")?;
    let facts = "{{range $port, $_ := .Config.ExposedPorts}}{{$port}}{{end}} {{(index .Mounts 0).Type}} {{(index .Mounts 0).Destination}}";
    let facts = env.docker(&["inspect", "--format", facts, "settled"])?;
    ensure!(facts == "8080/tcp volume /data", "{facts}");
    env.docker(&["stop", "--time", "60", "settled"])?;
    ensure!(env.docker(&["wait", "settled"])? == "3" && env.docker(&["logs", "settled"])? == "told");
    env.remove(&["settled"])?;
    env.docker(&["rmi", "settled"]).map(drop)
}

/// What a step made tells whether it ran again.
fn cache(env: &dyn Environment) -> Result<()> {
    let context = env.exchange().directory("context-of-cache")?;
    let unique = "cat /proc/sys/kernel/random/uuid";
    context.write(
        "Dockerfile",
        format!("FROM {BOX}\nRUN {unique} > /first\nCOPY data /data\nRUN {unique} > /second\n"),
    )?;
    context.write("data", "1")?;
    let build = |options: &[&str]| -> Result<[String; 3]> {
        let said = env.docker(&[&["build", "-t", "cached"], options, &[&context.inside]].concat())?;
        let made = env.docker(&["run", "--rm", "cached", "cat", "/first", "/second"])?;
        let (first, second) = made.split_once('\n').unwrap_or_default();
        Ok([first.to_owned(), second.to_owned(), said])
    };
    let [first, second, said] = build(&[])?;
    ensure!(!said.contains("Using cache"), "nothing was built before: {said}");
    let id = env.docker(&["inspect", "--format", "{{.Id}}", "cached"])?;
    let again = build(&[])?;
    ensure!(again[2].matches("Using cache").count() == 3, "{}", again[2]);
    ensure!(again[..2] == [first.clone(), second.clone()], "steps ran again");
    ensure!(env.docker(&["inspect", "--format", "{{.Id}}", "cached"])? == id, "the same build, another id");
    context.write("data", "2")?;
    let changed = build(&[])?;
    ensure!(
        changed[0] == first && changed[1] != second,
        "a file that changed is an image that changed: {}",
        changed[2]
    );
    let anew = build(&["--no-cache"])?;
    ensure!(anew[0] != first, "--no-cache used the cache");
    env.docker(&["rmi", "cached"])?;
    env.docker(&["image", "prune", "--force"]).map(drop)
}
