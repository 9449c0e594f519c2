//! Containers run, end with the right status, and can be talked to.

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "running::exit_codes_of_run",
        "`docker run` ends with the program's status, and with 125, 126, 127",
        exit_codes_of_run,
    ),
    scenario(
        "running::exit_codes_of_exec",
        "`docker exec` ends with the program's status, and with 126, 127",
        exit_codes_of_exec,
    ),
    scenario(
        "running::standard_streams",
        "input, output and errors reach a container and come back apart",
        standard_streams,
    ),
    scenario("running::terminal", "`docker run -t` gives a terminal", terminal),
    scenario("running::logs", "`docker logs` keeps both streams apart, and gives the last lines", logs),
    scenario("running::wait_and_kill", "`docker wait` gives the status of what was killed", wait_and_kill),
    scenario("running::init", "`--init` puts an init in front, and the status comes through it", init),
    scenario("running::top_pain_29", "`docker top` works with the options of ps", top),
];

fn exit_codes_of_run(env: &dyn Environment) -> Result<()> {
    let cases: &[(i32, &[&str])] = &[
        (0, &["true"]),
        (1, &["false"]),
        (42, &["sh", "-c", "exit 42"]),
        (126, &["/etc/not-executable"]),
        (127, &["no-such-program"]),
        (125, &["--no-such-option"]),
    ];
    for (status, command) in cases {
        // An option goes before the image, a command after it.
        let place: &[&str] = if *status == 125 { &[] } else { &[BOX] };
        let args: Vec<&str> = ["run", "--rm"].iter().chain(place).chain(*command).copied().collect();
        env.try_docker(&args)?.exits(*status)?;
    }
    Ok(())
}

fn exit_codes_of_exec(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "-d", "--name", "executed", BOX, "sleep", "600"])?;
    let cases: &[(i32, &[&str])] = &[
        (0, &["true"]),
        (7, &["sh", "-c", "exit 7"]),
        (137, &["sh", "-c", "kill -9 $$"]),
        (126, &["/etc/not-executable"]),
        (127, &["no-such-program"]),
    ];
    for (status, command) in cases {
        let args: Vec<&str> = ["exec", "executed"].iter().chain(*command).copied().collect();
        env.try_docker(&args)?.exits(*status)?;
    }
    env.remove(&["executed"])
}

/// Input reaches the container, and its two outputs stay apart.
fn standard_streams(env: &dyn Environment) -> Result<()> {
    let command = ["run", "--rm", "-i", BOX, "sh", "-c", "tr a-z A-Z; echo err >&2"];
    let outcome = env.docker_with_input(&command, b"through and through")?.exits(0)?;
    ensure!(outcome.text() == "THROUGH AND THROUGH", "stdout: {}", outcome.text());
    ensure!(outcome.stderr.trim() == "err", "stderr: {}", outcome.stderr);
    Ok(())
}

fn terminal(env: &dyn Environment) -> Result<()> {
    let script = "test -t 0 && test -t 1 && echo a terminal; exit 3";
    let outcome = env.exec_tty(&["docker", "run", "--rm", "-it", BOX, "sh", "-c", script])?.exits(3)?;
    ensure!(outcome.text().contains("a terminal"), "{}", outcome.text());
    Ok(())
}

fn logs(env: &dyn Environment) -> Result<()> {
    // The engine reads the two streams apart: what comes at the same time may be written down in any order.
    let script = "for i in 1 2 3; do echo line $i; done; sleep 0.5; echo last >&2";
    env.docker(&["run", "--name", "logged", BOX, "sh", "-c", script])?;
    let outcome = env.try_docker(&["logs", "logged"])?.exits(0)?;
    ensure!(outcome.text() == "line 1\nline 2\nline 3", "stdout: {}", outcome.text());
    ensure!(outcome.stderr.trim() == "last", "stderr: {}", outcome.stderr);
    let tail = env.try_docker(&["logs", "--tail", "2", "logged"])?.exits(0)?;
    ensure!(tail.text() == "line 3" && tail.stderr.trim() == "last", "{} {}", tail.text(), tail.stderr);
    env.remove(&["logged"])
}

fn wait_and_kill(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "-d", "--name", "killed", BOX, "sleep", "600"])?;
    env.docker(&["kill", "killed"])?;
    ensure!(env.docker(&["wait", "killed"])? == "137");
    env.docker(&[
        "run",
        "-d",
        "--name",
        "stopped",
        BOX,
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.1; done",
    ])?;
    env.docker(&["stop", "stopped"])?;
    ensure!(env.docker(&["wait", "stopped"])? == "5");
    env.remove(&["killed", "stopped"])
}

/// `--init` puts docker-init, mounted from the image, in front; it must be static to run there.
fn init(env: &dyn Environment) -> Result<()> {
    let first = env.docker(&["run", "--rm", "--init", BOX, "cat", "/proc/1/comm"])?;
    ensure!(first == "docker-init" || first == "tini", "PID 1 is {first}");
    env.try_docker(&["run", "--rm", "--init", BOX, "sh", "-c", "exit 9"])?.exits(9).map(drop)
}

/// The engine runs the image's own `ps` for it.
fn top(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "-d", "--name", "topped", BOX, "sleep", "600"])?;
    let chosen = env.docker(&["top", "topped", "-o", "pid,comm,args"])?;
    ensure!(chosen.lines().next().is_some_and(|head| head.contains("COMMAND")), "{chosen}");
    ensure!(chosen.contains("sleep 600"), "{chosen}");
    let plain = env.docker(&["top", "topped"])?;
    ensure!(plain.contains("UID") && plain.contains("sleep 600"), "{plain}");
    let bsd = env.docker(&["top", "topped", "aux"])?;
    ensure!(bsd.contains("%MEM") && bsd.contains("sleep 600"), "{bsd}");
    env.remove(&["topped"])
}
