//! Containers run, end with the right status, and can be talked to.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
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
    scenario("running::terminal_of_exec", "`docker exec -it` gives a terminal", terminal_of_exec),
    scenario(
        "running::attach",
        "`docker attach` shows what a container with a terminal writes, and ends with its status",
        attach,
    ),
    scenario("running::logs", "`docker logs` keeps both streams apart, and gives the last lines", logs),
    scenario(
        "running::wait_and_kill",
        "`docker wait` waits, and gives the status of what was killed or stopped",
        wait_and_kill,
    ),
    scenario("running::init", "`--init` puts an init in front, and the status comes through it", init),
    scenario("running::init_reaps", "with `--init` an orphan becomes no zombie", init_reaps),
    scenario("running::rename", "a running container gets another name, and loses the old one", rename),
    scenario(
        "running::anonymous_volume",
        "`--rm` takes a container's anonymous volume along, and spares a named one",
        anonymous_volume,
    ),
    scenario(
        "running::setting_of_the_program",
        "variables, user, directory, entry point and host name are as they are asked for",
        setting_of_the_program,
    ),
    scenario(
        "running::time_zone",
        "a container's time zone is that of `TZ`, or of the file that is mounted for it",
        time_zone,
    ),
    scenario(
        "running::copy",
        "`docker cp` carries files and directories into a running container and out again",
        copy,
    ),
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
    let waited = std::thread::scope(|scope| -> Result<_> {
        let waiting = scope.spawn(|| env.docker(&["wait", "killed"]));
        std::thread::sleep(Duration::from_secs(1));
        let too_early = waiting.is_finished();
        env.docker(&["kill", "killed"])?;
        ensure!(!too_early, "`docker wait` does not wait");
        waiting.join().map_err(|_| anyhow!("the thread that waits panicked"))?
    })?;
    ensure!(waited == "137", "it says: {waited}");
    ensure!(env.docker(&["wait", "killed"])? == "137", "of one that has ended");
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

fn terminal_of_exec(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "-d", "--name", "entered", BOX, "sleep", "600"])?;
    let script = "test -t 0 && test -t 1 && echo a terminal; exit 3";
    let outcome = env.exec_tty(&["docker", "exec", "-it", "entered", "sh", "-c", script])?.exits(3)?;
    ensure!(outcome.text().contains("a terminal"), "{}", outcome.text());
    env.remove(&["entered"])
}

/// Only what is written after the attaching is shown, so the container waits for that: the engine tells it as an event.
fn attach(env: &dyn Environment) -> Result<()> {
    let script = "while [ ! -e /go ]; do sleep 0.1; done; sleep 1; test -t 1 && echo a terminal; exit 6";
    env.docker(&["run", "-dit", "--name", "attached", BOX, "sh", "-c", script])?;
    let start = env.docker(&["inspect", "--format", "{{.State.StartedAt}}", "attached"])?;
    let outcome = std::thread::scope(|scope| -> Result<_> {
        let attached = scope.spawn(|| env.exec_tty(&["docker", "attach", "attached"]));
        let told = eventually("the engine tells of the attaching", Duration::from_secs(60), || {
            let now = env.docker(&["info", "--format", "{{.SystemTime}}"])?;
            let filters = ["--filter", "container=attached", "--filter", "event=attach"];
            let events = [&["events", "--since", &start, "--until", &now], &filters[..]].concat();
            Ok(!env.docker(&events)?.is_empty())
        });
        // Also when it is not attached: else the thread would wait for the container's end until its deadline.
        env.docker(&["exec", "attached", "touch", "/go"])?;
        told?;
        attached.join().map_err(|_| anyhow!("the thread that attaches panicked"))?
    })?
    .exits(6)?;
    ensure!(outcome.text().contains("a terminal"), "{}", outcome.text());
    env.remove(&["attached"])
}

/// Without an init the first process gets the orphan and never waits for it; both ways in one go, so that each proves the other.
fn init_reaps(env: &dyn Environment) -> Result<()> {
    let script = "(sleep 0.3 &); exec sleep 600";
    env.docker(&["run", "-d", "--init", "--name", "reaped", BOX, "sh", "-c", script])?;
    env.docker(&["run", "-d", "--name", "unreaped", BOX, "sh", "-c", script])?;
    let zombies = |name: &str| -> Result<usize> {
        let mut processes = String::new();
        eventually("the orphan ends", Duration::from_secs(30), || {
            // A shell or the orphan, but not the init, whose arguments are the same.
            let is_early = |line: &str| {
                let program = line.get(5..).unwrap_or_default();
                ["sh -c", "sleep 0.3"].iter().any(|start| program.starts_with(start))
            };
            processes = env.docker(&["exec", name, "ps", "-o", "stat,args"])?;
            Ok(!processes.lines().any(is_early))
        })?;
        Ok(processes.lines().filter(|line| line.starts_with('Z')).count())
    };
    let counts = (zombies("unreaped")?, zombies("reaped")?);
    ensure!(counts == (1, 0), "zombies without and with an init: {counts:?}");
    env.remove(&["reaped", "unreaped"])
}

fn rename(env: &dyn Environment) -> Result<()> {
    let id = env.docker(&["run", "-d", "--name", "maiden", BOX, "sleep", "600"])?;
    env.docker(&["rename", "maiden", "married"])?;
    ensure!(env.docker(&["inspect", "--format", "{{.Id}}", "married"])? == id);
    ensure!(env.docker(&["exec", "married", "echo", "here"])? == "here");
    env.try_docker(&["inspect", "maiden"])?.exits(1)?;
    env.remove(&["married"])
}

fn anonymous_volume(env: &dyn Environment) -> Result<()> {
    let mounts = ["-v", "/anonymous", "-v", "spared:/named"];
    let run = [&["run", "-d", "--rm", "--name", "short"], &mounts[..], &[BOX, "sleep", "600"]].concat();
    env.docker(&run)?;
    let format = "{{range .Mounts}}{{println .Destination .Name}}{{end}}";
    let mounted = env.docker(&["inspect", "--format", format, "short"])?;
    let volume = mounted.lines().find_map(|line| line.strip_prefix("/anonymous "));
    let volume = volume.with_context(|| format!("no volume at /anonymous: {mounted}"))?;
    env.docker(&["volume", "inspect", volume])?;
    env.docker(&["kill", "short"])?;
    eventually("the container and its volume are gone", Duration::from_secs(30), || {
        Ok(env.try_docker(&["volume", "inspect", volume])?.status == 1)
    })?;
    env.docker(&["volume", "inspect", "spared"])?;
    env.docker(&["volume", "rm", "spared"]).map(drop)
}

fn setting_of_the_program(env: &dyn Environment) -> Result<()> {
    let shared = env.exchange().directory("setting")?;
    shared.write("variables", "# a comment\nCOLOUR=green\nSHAPE=round and \"quoted\"\nTASTE=sour\n")?;
    let file = format!("{}/variables", shared.inside);
    let script = r#"echo "$1|$COLOUR|$SHAPE|$TASTE|$(id -u):$(id -g)|$(pwd)|$(hostname)""#;
    #[rustfmt::skip]
    let run = [
        "run", "--rm", "--env-file", &file, "-e", "TASTE=sweet", "--user", "1000:1001", "--workdir", "/made/for/it",
        "--hostname", "somewhere", "--entrypoint", "/bin/sh", BOX, "-c", script, "zero", "one",
    ];
    let seen = env.docker(&run)?;
    let wanted = r#"one|green|round and "quoted"|sweet|1000:1001|/made/for/it|somewhere"#;
    ensure!(seen == wanted, "{seen}, expected {wanted}");
    // A user by name comes from the container's own files.
    let named = env.docker(&["run", "--rm", "--user", "guest", BOX, "id", "-un"])?;
    ensure!(named == "guest", "{named}");
    Ok(())
}

/// The first moment of 1970 was afternoon of the day before five hours to the west, and a quarter to six in Nepal of today.
fn time_zone(env: &dyn Environment) -> Result<()> {
    let date = ["date", "-d", "@0", "+%H:%M %Z"];
    let by_variable = env.docker(&[&["run", "--rm", "-e", "TZ=XST5", BOX], &date[..]].concat())?;
    ensure!(by_variable == "19:00 XST", "with TZ: {by_variable}");
    let shared = env.exchange().directory("zone")?;
    shared.write("zone", zone_file(5 * 3600 + 45 * 60, *b"NPT\0"))?;
    for (place, options) in
        [("/etc/localtime", &[][..]), ("/usr/share/zoneinfo/Made/Up", &["-e", "TZ=Made/Up"][..])]
    {
        let mount = format!("{}/zone:{place}:ro", shared.inside);
        let run = [&["run", "--rm", "-v", &mount], options, &[BOX], &date].concat();
        let by_file = env.docker(&run)?;
        ensure!(by_file == "05:45 NPT", "with {place}: {by_file}");
    }
    Ok(())
}

/// One type of local time, no transitions (RFC 8536, version 1).
fn zone_file(seconds_east: i32, name: [u8; 4]) -> Vec<u8> {
    let counts: [u32; 6] = [0, 0, 0, 0, 1, 4];
    let mut file = b"TZif".to_vec();
    file.extend([0; 16]);
    file.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    file.extend(seconds_east.to_be_bytes());
    // No summer time; its name is the first.
    file.extend([0, 0]);
    file.extend(name);
    file
}

fn copy(env: &dyn Environment) -> Result<()> {
    let shared = env.exchange().directory("copied")?;
    let tree = env.exchange().directory("copied/tree")?;
    tree.write("one", "first\n")?;
    tree.write("two", "second\n")?;
    env.docker(&["run", "-d", "--name", "copied", BOX, "sleep", "600"])?;
    env.docker(&["cp", &tree.inside, "copied:/tmp/tree"])?;
    env.docker(&["cp", &format!("{}/one", tree.inside), "copied:/tmp/tree/three"])?;
    let script = "cd /tmp/tree; cat one two three; chmod 640 two; echo changed > two";
    let seen = env.docker(&["exec", "copied", "sh", "-c", script])?;
    ensure!(seen == "first\nsecond\nfirst", "{seen}");
    env.docker(&["cp", "copied:/tmp/tree", &format!("{}/back", shared.inside)])?;
    let two = shared.outside.join("back/two");
    ensure!(std::fs::read_to_string(&two)? == "changed\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&two)?.permissions());
    ensure!(mode & 0o777 == 0o640, "the mode became {mode:o}");
    ensure!(shared.outside.join("back/three").is_file(), "not all of the directory came back");
    env.remove(&["copied"])
}
