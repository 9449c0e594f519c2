//! What `from-scratch up` and its sister commands promise on the host.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{self, Outcome, eventually};
use crate::environment::Environment;
use crate::host::Host;
use crate::image::BOX;
use crate::product;
use crate::up::Instance;

/// Any user that is not root.
const SOMEBODY: u32 = 65534;

/// `sun_path` of a socket's address, with its final zero byte.
const LONGEST_ADDRESS: usize = 108;

/// An instance with a network, a published port and a limited container leaves no trace on the host but its own mounts
/// and cgroups while it is up, and none at all afterwards.
pub fn host_untouched() -> Result<()> {
    let before = Host::look()?;
    let mut instance = Instance::start("proof")?;
    let environment: &dyn Environment = &instance;
    environment.docker(&["network", "create", "busy"])?;
    let limits = [
        "--network",
        "busy",
        "-p",
        "18080:80",
        "--memory",
        "64m",
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=0",
    ];
    let run: Vec<&str> = ["run", "-d", "--name", "busy"]
        .iter()
        .chain(&limits)
        .chain(&[BOX, "sleep", "600"])
        .copied()
        .collect();
    environment.docker(&run)?;
    let own_cgroup = format!("/from-scratch/{}", instance.name());
    let state = instance.state().join(instance.name()).display().to_string();
    before.unchanged(&Host::look()?, |area, line| match area {
        "cgroups" => line.contains(&own_cgroup) || shared_cgroup(line),
        "mounts" => line.contains(&state),
        _ => false,
    })?;
    instance.tear_down()?;
    // The directory above may serve other instances; when it serves none it goes.
    let others = |line: &str| shared_cgroup(line) && !line.contains(&own_cgroup) && has_children(line);
    before.unchanged(&Host::look()?, |area, line| area == "cgroups" && others(line))
}

/// `…/from-scratch` or another instance's group in it.
fn shared_cgroup(line: &str) -> bool {
    line.ends_with("/from-scratch") || line.contains("/from-scratch/")
}

fn has_children(directory: &str) -> bool {
    let parent = directory.split("/from-scratch").next().unwrap_or_default();
    fs::read_dir(format!("{parent}/from-scratch"))
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())))
}

/// Two instances: `ps` lists both, and taking one down leaves the other.
pub fn side_by_side() -> Result<()> {
    let mut one = Instance::start("one")?;
    let two = Instance::start("two")?;
    for instance in [&one, &two] {
        let listed = instance.row()?.context("`ps` does not list it")?;
        ensure!(listed["status"] == "running", "{listed}");
        ensure!(listed["socket"].as_str() == instance.socket().to_str(), "{listed}");
    }
    let (first, second): (&dyn Environment, &dyn Environment) = (&one, &two);
    first.docker(&["volume", "create", "only-in-one"])?;
    ensure!(!second.docker(&["volume", "ls", "-q"])?.contains("only-in-one"));
    one.tear_down()?;
    second.docker(&["run", "--rm", BOX, "true"])?;
    ensure!(one.row()?.is_none(), "`ps` still lists what was taken down");
    Ok(())
}

/// A second `up` with the same name is refused and changes nothing; the message says what to do instead.
pub fn up_twice() -> Result<()> {
    let instance = Instance::start("twice")?;
    let again = instance.run_up()?;
    ensure!(again.status == 1, "the second `up` exited {}", again.status);
    for hint in ["error:", "hint:", "down --name", instance.name()] {
        ensure!(again.stderr.contains(hint), "no `{hint}` in: {}", again.stderr);
    }
    (&instance as &dyn Environment).docker(&["run", "--rm", BOX, "true"]).map(drop)
}

/// PID 1 is killed as by the kernel's out-of-memory killer: `ps` says dead, and `up` starts it again with its state.
pub fn killed_and_started_again() -> Result<()> {
    let mut instance = Instance::start("killed")?;
    (&instance as &dyn Environment).docker(&["volume", "create", "survivor"])?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(instance.pid()?)?).context("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    eventually("`ps` tells that it is dead", Duration::from_secs(10), || {
        Ok(instance.row()?.is_some_and(|row| row["status"] == "dead"))
    })?;
    let exec = instance.exec(&["docker", "ps"], b"")?;
    ensure!(exec.status != 0 && exec.stderr.contains("hint:"), "exec in a dead one: {}", exec.stderr);
    instance.up()?;
    let volumes = (&instance as &dyn Environment).docker(&["volume", "ls", "-q"])?;
    ensure!(volumes.lines().any(|volume| volume == "survivor"), "volumes: {volumes}");
    (&instance as &dyn Environment).docker(&["run", "--rm", BOX, "true"]).map(drop)
}

/// `exec`, `logs` and `down` of a name that nobody has started.
pub fn nothing_runs() -> Result<()> {
    let state = tempfile::tempdir()?;
    for (subcommand, arguments, status) in
        [("exec", &["docker", "ps"][..], 125), ("logs", &[], 1), ("down", &[], 0)]
    {
        let outcome = bare(subcommand, state.path(), arguments)?;
        ensure!(outcome.status == status, "{subcommand} exited {}: {}", outcome.status, outcome.stderr);
        let hinted = outcome.stderr.contains("hint:") && outcome.stderr.contains(" up");
        ensure!(status == 0 || hinted, "{subcommand} gives no advice: {}", outcome.stderr);
    }
    ensure!(fs::read_dir(state.path())?.next().is_none(), "something was made in the state directory");
    Ok(())
}

/// `up` of an ordinary user: an error that says how, and nothing half made.
pub fn without_root() -> Result<()> {
    // A copy, as the user may not look into the directory that it was built in.
    let place = tempfile::tempdir()?;
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let program = place.path().join("from-scratch");
    fs::copy(product::from_scratch()?, &program)?;
    let state = place.path().join("state");
    let mut up = Command::new(&program);
    up.args(["up", "--network", "none", "--state-dir"])
        .arg(&state)
        .uid(SOMEBODY)
        .gid(SOMEBODY)
        .current_dir("/");
    let outcome = command::run(&mut up, b"")?;
    ensure!(outcome.status == 1, "`up` exited {}: {}", outcome.status, outcome.stderr);
    ensure!(outcome.stderr.contains("root") && outcome.stderr.contains("hint:"), "{}", outcome.stderr);
    ensure!(!state.exists(), "a state directory was made");
    Ok(())
}

/// The socket that `up` prints speaks Docker's API, and the image's own client works from the host through it.
pub fn socket_on_the_host(instance: &Instance) -> Result<()> {
    let answer = get(instance.socket(), "/version")?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"ApiVersion\""), "{answer}");
    let pid = instance.pid()?;
    let private = format!("/proc/{pid}/root/usr/lib/dockerlaunch");
    // No Docker is installed here: the client comes out of the image, started by its own loader.
    let mut docker = Command::new(format!("{private}/ld"));
    docker.args(["--library-path", &format!("{private}/lib"), &format!("{private}/bin/docker")]);
    docker.current_dir(instance.socket().parent().context("no directory")?);
    let whole = instance.socket().display().to_string();
    // A clone may lie so deep that no address can hold the path.
    let socket = if whole.len() < LONGEST_ADDRESS { &whole } else { "docker.sock" };
    docker.arg("-H").arg(format!("unix://{socket}")).args(["run", "--rm", BOX, "echo", "hello, host"]);
    ensure!(command::run(&mut docker, b"")?.success()? == "hello, host");
    Ok(())
}

/// A request in the plainest HTTP. The socket's path may be longer than an address can be, but not that of its directory's handle.
fn get(socket: &Path, path: &str) -> Result<String> {
    let directory = fs::File::open(socket.parent().context("no directory")?)?;
    let name = socket.file_name().context("no name")?.to_string_lossy();
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.replacen("HTTP/1.0", "HTTP/1.1", 1))
}

fn bare(subcommand: &str, state: &Path, arguments: &[&str]) -> Result<Outcome> {
    let mut command = Command::new(product::from_scratch()?);
    command::run(command.arg(subcommand).arg("--state-dir").arg(state).args(arguments), b"")
}
