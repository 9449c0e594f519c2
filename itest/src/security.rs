//! What `up` and the image protect the host and its users from, looked at from both sides.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::build;
use crate::command::{self, Outcome};
use crate::environment::Environment;
use crate::image::BOX;
use crate::up::Instance;

/// A process of the host that nobody inside may see; gone with this.
struct Sleeper(Child);

impl Sleeper {
    fn start(mark: &str) -> Result<Self> {
        Ok(Self(Command::new("sleep").arg(mark).stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes, cgroups, sockets and names of the host are not to be seen from an instance, even by a container with all
/// privileges and all of the engine's namespaces. The same look at the host finds each of them.
pub fn host_out_of_sight(instance: &Instance) -> Result<()> {
    let mark = format!("7{}", 1_000_000 + std::process::id());
    let name = format!("itest-{mark}");
    let _process = Sleeper::start(&mark)?;
    let _socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let env: &dyn Environment = instance;
    env.docker(&["run", "-d", "--name", "seen", BOX, "sleep", &mark.replacen('7', "8", 1)])?;

    let look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; echo; cat /proc/net/unix; hostname; cat /proc/self/cgroup; \
                find /sys/fs/cgroup /engines-groups -maxdepth 2 -type d 2>/dev/null | sed 's/$/ is a group/'";
    let outside = command::run(Command::new("sh").args(["-c", look]), b"")?.text();
    #[rustfmt::skip]
    let all = [
        "run", "--rm", "--privileged", "--pid", "host", "--network", "host", "--uts", "host", "--ipc", "host",
        "--cgroupns", "host", "-v", "/sys/fs/cgroup:/engines-groups", BOX, "sh", "-c", look,
    ];
    let inside = env.docker(&all)?;
    // The instance's own group is in one of that name, and is the root of all that it sees.
    for (what, word) in [
        ("a process", format!("sleep {mark}")),
        ("a socket", name.clone()),
        ("a cgroup", "/from-scratch is a group".to_owned()),
    ] {
        ensure!(outside.contains(&word), "the look misses {what} of the host: {outside}");
        ensure!(!inside.contains(&word), "{what} of the host is seen inside: {inside}");
    }
    let own_process = format!("sleep 8{}", &mark[1..]);
    for word in [own_process.as_str(), "docker.sock", "/docker is a group", instance.name()] {
        ensure!(inside.contains(word), "the look misses `{word}`: {inside}");
    }

    env.remove(&["seen"])?;
    separate_namespaces(instance)
}

fn separate_namespaces(instance: &Instance) -> Result<()> {
    let pid = instance.pid()?;
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let [own, its] =
            ["self", &pid.to_string()].map(|who| fs::read_link(format!("/proc/{who}/ns/{kind}")));
        ensure!(own? != its?, "the instance shares the host's namespace {kind}");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root =
        mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("no root is mounted")?;
    ensure!(root.contains(" - overlay from-scratch "), "the root is {root}");
    Ok(())
}

/// Nobody listens in an instance unless asked to, and what is asked for without TLS is warned of; its files on the host are
/// for root alone.
pub fn listeners_and_files(instance: &Instance) -> Result<()> {
    let pid = instance.pid()?;
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        // TCP that listens, UDP that is bound.
        let listens = |line: &&str| matches!(line.split_whitespace().nth(3), Some("0A" | "07"));
        sockets.extend(text.lines().filter(listens).map(|line| format!("{table} {line}")));
    }
    ensure!(sockets.is_empty(), "somebody listens: {sockets:#?}");

    let socket = instance.socket();
    let mode = fs::metadata(socket)?.permissions().mode() & 0o777;
    ensure!(mode & 0o007 == 0, "`{}` has mode {mode:o}", socket.display());
    let directory = socket.parent().context("no directory")?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        ensure!(metadata.uid() == 0, "`{}` belongs to {}", entry.path().display(), metadata.uid());
        ensure!(
            metadata.permissions().mode() & 0o022 == 0
                || metadata.file_type().is_symlink()
                || entry.path() == socket,
            "`{}` can be written by others: {:o}",
            entry.path().display(),
            metadata.permissions().mode()
        );
    }
    // Whoever is not root gets nowhere with the socket.
    const SCRIPT: &str = r#"my $user = shift; $( = $user; $) = "$user $user"; $> = $< = $user;
        chdir $ARGV[0] or exit 3; exit !IO::Socket::UNIX->new($ARGV[1])"#;
    for (user, allowed) in [("0", true), ("65534", false)] {
        let mut client = Command::new("perl");
        client.args(["-MIO::Socket::UNIX", "-e", SCRIPT, user]).arg(directory).arg("docker.sock");
        let outcome = command::run(&mut client, b"")?;
        ensure!((outcome.status == 0) == allowed, "user {user}: {} {}", outcome.status, outcome.stderr);
    }
    Ok(())
}

/// Nobody gets more rights by a file of the image than they have.
pub fn no_setuid_file() -> Result<()> {
    const SETUID_SETGID: u32 = 0o6000;
    let archive = build::output("security", "tar", "image.tar")?;
    let mut files = 0;
    for entry in tar::Archive::new(fs::File::open(archive)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let mode = entry.header().mode()?;
        let plain = !entry.header().entry_type().is_symlink();
        ensure!(mode & SETUID_SETGID == 0, "`{}` has mode {mode:o}", path.display());
        ensure!(
            !plain || mode & 0o002 == 0 || mode & 0o1000 != 0,
            "anybody can write `{}`: {mode:o}",
            path.display()
        );
        let extensions = entry.pax_extensions()?.into_iter().flatten().flatten();
        for key in extensions.filter_map(|extension| extension.key().ok().map(str::to_owned)) {
            ensure!(!key.contains("security.capability"), "`{}` has {key}", path.display());
        }
        files += usize::from(entry.header().entry_type().is_file());
    }
    ensure!(files > 20, "an image of {files} files only");
    Ok(())
}

/// Passwords of proxies and of the configuration, and private keys, are in nothing that can be read of the image's launcher,
/// its engine and its processes; keys are for those alone who need them.
pub fn secrets_and_keys(outer: Arc<Instance>) -> Result<()> {
    let env: &dyn Environment = &*outer;
    let config = r#"{"proxies":{"http-proxy":"http://bob:hunter3@proxy.invalid:3128"},"labels":["a=b"]}"#;
    let config = format!("DOCKERD_CONFIG_JSON={config}");
    #[rustfmt::skip]
    let run = [
        "run", "-d", "--privileged", "--name", "discreet", "-e", "HTTPS_PROXY=http://eve:hunter2@proxy.invalid:3128", "-e", &config,
        "-e", "DOCKER_LAUNCH_DEBUG=true", build::IMAGE,
    ];
    env.docker(&run)?;
    let result = told_nowhere(env);
    env.remove(&["discreet"])?;
    result
}

fn told_nowhere(env: &dyn Environment) -> Result<()> {
    let exec = |words: &[&str]| env.try_docker(&[&["exec", "discreet"], words].concat());
    exec(&["dockerlaunch", "ready", "--timeout", "60s"])?.exits(0)?;
    let mut told = Vec::new();
    for words in [
        &["dockerlaunch", "plan"][..],
        &["dockerlaunch", "plan", "--json"],
        &["dockerlaunch", "facts"],
        &["dockerlaunch", "check", "--json"],
        &["dockerlaunch", "report", "--json"],
        &["dockerlaunch", "explain"],
        &["docker", "info"],
        &["ps", "-e", "-o", "args"],
    ] {
        told.push(exec(words)?.exits(0)?);
    }
    // Its variables are what the user has given it; the rest of what is told of the container is ours.
    exec(&["dockerlaunch", "healthcheck"])?.exits(0)?;
    let ours = "{{json .Config.Labels}} {{json .Config.Healthcheck}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .State}}";
    told.push(env.try_docker(&["inspect", "--format", ours, "discreet"])?.exits(0)?);
    told.push(env.try_docker(&["image", "inspect", build::IMAGE])?.exits(0)?);
    told.push(env.try_docker(&["logs", "discreet"])?.exits(0)?);
    for outcome in &told {
        let text = format!("{}{}", outcome.text(), outcome.stderr);
        ensure!(!text.is_empty(), "`{}` says nothing", outcome.command);
        for secret in ["hunter2", "hunter3", "PRIVATE KEY"] {
            ensure!(!text.contains(secret), "`{}` tells {secret}: {text}", outcome.command);
        }
    }
    let masked = |outcome: &Outcome| outcome.text().contains("xxxxx:xxxxx@proxy.invalid");
    ensure!(told.iter().any(masked), "nothing names the proxies, so nothing could have told more: {told:#?}");

    let script = "cd /proc/1/root; stat -c '%a %u %n' certs/*/key.pem run/dockerlaunch/daemon.json; \
                  grep -l hunter3 run/dockerlaunch/daemon.json";
    let look = ["run", "--rm", "--privileged", "--pid", "container:discreet", BOX, "sh", "-c", script];
    let modes = env.docker(&look)?;
    let wanted = "600 0 certs/ca/key.pem\n644 0 certs/client/key.pem\n600 0 certs/server/key.pem\n\
                  600 0 run/dockerlaunch/daemon.json\nrun/dockerlaunch/daemon.json";
    ensure!(modes == wanted, "{modes}");
    // Port 2376 and nothing else.
    let tables =
        ["run", "--rm", "--network", "container:discreet", BOX, "cat", "/proc/net/tcp", "/proc/net/tcp6"];
    let tables = env.docker(&tables)?;
    let listening: Vec<&str> = tables
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&"0A"))
        .filter_map(|fields| fields.get(1)?.split(':').nth(1))
        .collect();
    ensure!(listening == ["0948"], "ports that listen, in hexadecimal: {listening:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::product;

    fn sources(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            if entry.path().is_dir() {
                sources(&entry.path(), text);
            } else {
                *text += &fs::read_to_string(entry.path()).expect("a source");
            }
        }
    }

    #[test]
    fn every_test_that_the_page_cites_is_there() {
        let mut text = String::new();
        for directory in ["src", "tests"] {
            sources(&product::workspace().join("itest").join(directory), &mut text);
        }
        let page = fs::read_to_string(product::workspace().join("SECURITY.md")).expect("the page");
        let cited = page.split('[').skip(1).filter_map(|rest| rest.split(']').next());
        let names: Vec<&str> = cited.flat_map(|cited| cited.split('`').skip(1).step_by(2)).collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names.into_iter().filter(|name| !name.contains(' ')) {
            // A suite's own tests bear its name in front.
            let own = name.split_once("::").map_or(name, |(_, own)| own);
            let is_there = |name: &str| text.contains(&format!("\"{name}\""));
            assert!(is_there(name) || is_there(own), "there is no test `{name}`");
        }
    }
}
