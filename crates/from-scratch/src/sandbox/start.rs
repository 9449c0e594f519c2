//! Starts an instance, or undoes everything that it has done.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dockerlaunch_plan::config::variables;
use nix::sys::wait::waitpid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::authorities::Authorities;
use super::cgroup::{Cgroups, Limits};
use super::network;
use super::process::{ProcessId, boot_id};
use super::socket::{self, Silence};
use super::stage::{self, Answer, Bind, Plan};
use super::state::{InstanceDir, Record, now, storage_error};
use super::stop;
use crate::publish::{Network, Port};
use crate::report::Hinted;
use crate::signals::{Interrupted, Signals};
use crate::spawn::Spawn;

/// How much of the log an error shows.
const TAIL: usize = 20;

/// What programs of the image need to find each other.
const IMAGE_ENV: &[&str] = &[
    "PATH=/usr/lib/dockerlaunch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "GIT_TEMPLATE_DIR=",
    "container=from-scratch",
    // systemd's protocol; PID 1 is what the launcher is going to be.
    "LISTEN_PID=1",
    "LISTEN_FDS=1",
    "LISTEN_FDNAMES=docker.sock",
];

/// Where our image has iptables' extensions. A root with an iptables of its own has them elsewhere.
const XTABLES: &str = "/usr/lib/dockerlaunch/xtables";

/// What the engine must know of the caller's way out.
const PROXIES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"];

/// An instance to be started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// What the user knows the image by.
    pub(crate) image: String,
    pub(crate) rootfs: PathBuf,
    pub(crate) network: Network,
    /// Where the builder has put pasta, or why it could not.
    pub(crate) tools: Result<PathBuf, String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) volumes: Vec<Bind>,
    pub(crate) limits: Limits,
    pub(crate) args: Vec<OsString>,
    /// How long Docker may take to answer.
    pub(crate) patience: Duration,
}

/// Starts it and returns when Docker answers. The caller holds the lock, and signals are held back.
///
/// Whatever fails, and whenever the user stops it: nothing of it is left but the data that were there before.
pub(crate) fn start(dir: &InstanceDir, launch: &Launch, signals: &Signals) -> anyhow::Result<Record> {
    Cgroups::of(&dir.name)?.refuse_strangers()?;
    // PID 1 and pasta become children of this process, which can then tell how they ended.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    let mut record = Record {
        name: dir.name.clone(),
        starter: Some(ProcessId::of(std::process::id() as i32)?),
        process: None,
        network: launch.network,
        pasta: None,
        ports: launch.ports.iter().map(ToString::to_string).collect(),
        socket: dir.socket(),
        image: launch.image.clone(),
        rootfs: launch.rootfs.clone(),
        cgroups: Cgroups::of(&dir.name)?.paths(),
        boot: boot_id()?,
        created: now(),
    };
    let data_is_new = !dir.docker_data().exists();
    let started = start_and_wait(dir, launch, signals, &mut record);
    if started.is_err() {
        let undone = stop::end(dir, &record, Duration::ZERO).and_then(|_| dir.clear_data(data_is_new));
        if let Err(error) = undone {
            eprintln!("warning: cannot undo everything: {error:#}");
        }
    }
    started.map(|()| record)
}

fn start_and_wait(
    dir: &InstanceDir,
    launch: &Launch,
    signals: &Signals,
    record: &mut Record,
) -> anyhow::Result<()> {
    dir.write_record(record)?;
    dir.make_dirs()?;
    Cgroups::of(&dir.name)?.create(launch.limits)?;
    // Appended to, so that it may be cut by whoever keeps disks from filling up.
    let _ = fs::remove_file(dir.log());
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(dir.log())
        .map_err(|error| storage_error("write", &dir.log(), error))?;
    let listener = socket::listen(&dir.socket())?;
    let namespace = network::new_namespace()?;
    if launch.network == Network::User {
        way_out(dir, launch, &namespace, signals, record)?;
    }
    let authorities =
        std::env::var(variables::EXTRA_CA).map(|named| Authorities::of(&named)).unwrap_or_default();
    let plan = Plan {
        name: dir.name.clone(),
        parent: std::process::id() as i32,
        dir: dir.path().to_owned(),
        rootfs: launch.rootfs.clone(),
        binds: binds(dir, launch, &authorities),
        resolv_conf: record.pasta.as_ref().and_then(|_| network::resolv_conf()),
        args: launch.args.clone(),
        env: environment(&launch.rootfs, &authorities),
    };
    let process = run_stage(&plan, &log, &listener, &namespace, signals)?;
    // From here on the socket lives as long as somebody inside holds it.
    drop(listener);
    record.process = Some(process.clone());
    dir.write_record(record)?;
    let Some(held) = process.hold() else { return Err(died(dir)) };
    match socket::wait_until_answered(&dir.socket(), &held, signals, launch.patience) {
        Ok(()) => {}
        Err(Silence::Died) => return Err(died(dir)),
        Err(Silence::Interrupted(interrupted)) => return Err(interrupted.into()),
        Err(Silence::TimedOut) => {
            let what = format!("Docker does not answer within {} seconds", launch.patience.as_secs());
            return Err(
                with_log(Hinted::new(what).hint("give it longer with `--timeout SECONDS`"), dir).into()
            );
        }
        Err(Silence::Failed(error)) => {
            return Err(error).with_context(|| format!("cannot ask at `{}`", dir.socket().display()));
        }
    }
    record.starter = None;
    dir.write_record(record)
}

/// Starts pasta. Without one the instance goes without a way out, unless ports depend on it.
fn way_out(
    dir: &InstanceDir,
    launch: &Launch,
    namespace: &File,
    signals: &Signals,
    record: &mut Record,
) -> anyhow::Result<()> {
    let started = match &launch.tools {
        Ok(tools) => network::start_pasta(tools, namespace, &launch.ports, dir),
        Err(why) => Err(anyhow::anyhow!("{why}")),
    };
    let ready = started.and_then(|pasta| {
        // Written down before anything else can happen: nobody but `down` ends it.
        record.pasta = Some(pasta.clone());
        dir.write_record(record)?;
        network::wait_until_ready(&pasta, dir, signals)
    });
    match ready {
        Ok(()) => Ok(()),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) if !launch.ports.is_empty() => Err(Hinted::new("cannot publish the ports")
            .because(error)
            .hint("start without `-p`, and reach the engine by its socket alone")
            .into()),
        Err(error) => {
            eprintln!("warning: the instance has no way out, as pasta cannot be started: {error:#}");
            record.network = Network::None;
            record.pasta = None;
            dir.write_record(record)
        }
    }
}

fn binds(dir: &InstanceDir, launch: &Launch, authorities: &Authorities) -> Vec<Bind> {
    // Not on the overlay: the engine's own overlays cannot lie on one.
    let data = Bind { source: dir.docker_data(), target: PathBuf::from("/var/lib/docker") };
    std::iter::once(data)
        .chain(authorities.binds.iter().cloned())
        .chain(launch.volumes.iter().cloned())
        .collect()
}

/// Variables for the launcher and the engine (CONTRACT §3); `DOCKER_HOST` is not among them: it is the client's.
const LAUNCHER_PREFIXES: [&str; 3] = ["DOCKER_LAUNCH_", "DOCKERLAUNCH_", "DOCKERD_"];
const LAUNCHER_VARIABLES: [&str; 10] = [
    variables::DAEMON_ARGS,
    variables::DRIVER,
    variables::EXTRA_CA,
    variables::INSECURE_REGISTRY,
    variables::IPTABLES_LEGACY,
    variables::MIN_API_VERSION,
    variables::MTU,
    variables::POOL_BASE,
    variables::POOL_SIZE,
    variables::REGISTRY_MIRROR,
];

fn is_meant_for_it(name: &str) -> bool {
    LAUNCHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || LAUNCHER_VARIABLES.contains(&name)
}

/// The image's environment, the caller's proxies, and what is meant for the launcher and the engine.
fn environment(rootfs: &Path, authorities: &Authorities) -> Vec<OsString> {
    let mut env: Vec<OsString> = IMAGE_ENV.iter().map(OsString::from).collect();
    if rootfs.join(XTABLES.trim_start_matches('/')).is_dir() {
        env.push(format!("XTABLES_LIBDIR={XTABLES}").into());
    }
    for (name, mut value) in std::env::vars_os() {
        if name == variables::EXTRA_CA {
            value = authorities.value.clone().into();
        }
        if is_meant_for_it(&name.to_string_lossy()) {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            env.push(variable);
        }
    }
    for name in PROXIES {
        for name in [name.to_string(), name.to_lowercase()] {
            if let Some(value) = std::env::var_os(&name) {
                let mut variable = OsString::from(name + "=");
                variable.push(value);
                env.push(variable);
            }
        }
    }
    env
}

/// Runs the stage and returns what identifies the PID 1 that it has started.
fn run_stage(
    plan: &Plan,
    log: &File,
    listener: &std::os::unix::net::UnixListener,
    namespace: &File,
    signals: &Signals,
) -> anyhow::Result<ProcessId> {
    let mut text = File::from(memfd_create("plan", MemfdFlags::CLOEXEC)?);
    text.write_all(&serde_json::to_vec(plan)?)?;
    let (ours, theirs) = UnixStream::pair()?;
    let stage = Spawn::new(Path::new("/proc/self/exe"), "from-scratch".as_ref())?
        .args([crate::cli::STAGE])?
        .own_env()?
        .fd(File::open("/dev/null")?, 0)?
        .fd(&theirs, 1)?
        .fd(log, 2)?
        .fd(listener, stage::SOCKET_FD)?
        .fd(namespace, stage::NETWORK_FD)?
        .fd(&text, stage::PLAN_FD)?
        .start()
        .context("cannot start the process that makes the namespaces")?;
    drop(theirs);
    let answer = hear(&ours, signals);
    let process = match answer {
        Ok(Answer::Started(pid)) => ProcessId::of(pid).context("PID 1 has ended at once"),
        Ok(Answer::Failed(report)) => Err(report.into_error().into()),
        Err(error) => {
            // Before it could do more; what it has started is found in the cgroups.
            if let Some(pid) = rustix::process::Pid::from_raw(stage) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            Err(error)
        }
    };
    drop(ours);
    waitpid(nix::unistd::Pid::from_raw(stage), None)?;
    process
}

/// Reads the stage's answer, unless a signal comes first.
fn hear(stream: &UnixStream, signals: &Signals) -> anyhow::Result<Answer> {
    let mut fds = [PollFd::new(signals, PollFlags::IN), PollFd::new(stream, PollFlags::IN)];
    poll(&mut fds, None)?;
    if let Some(signal) = signals.next()? {
        return Err(Interrupted(signal).into());
    }
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).context("the process that makes the namespaces ended without a word")
}

fn died(dir: &InstanceDir) -> anyhow::Error {
    with_log(Hinted::new("PID 1 of the instance has ended before Docker answered"), dir).into()
}

/// Whether a line tells why an engine has ended: what programs say last they say plainly, not with the time in front as
/// they go, nor as the launcher does.
fn is_telling(line: &str) -> bool {
    let goes_on = line.trim().is_empty() || line.starts_with("time=") || line.starts_with("dockerlaunch: ");
    line.contains("level=fatal") || !goes_on
}

/// Adds what the log says, as it goes with everything else: the lines that tell why, or else the last ones.
fn with_log(error: Hinted, dir: &InstanceDir) -> Hinted {
    let log = fs::read(dir.log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    if lines.is_empty() {
        return error.hint("it has written nothing; see whether the image is for this machine");
    }
    let mut telling: Vec<&str> = lines.iter().copied().filter(|line| is_telling(line)).collect();
    telling.dedup();
    telling.truncate(TAIL);
    let error =
        if telling.iter().any(|line| line.contains("unknown flag") || line.contains("unknown shorthand")) {
            error.hint("this dockerd does not know that option: see those after `--`, and `dockerd --help`")
        } else {
            error
        };
    let (what, shown) = match &telling[..] {
        [] => ("the end of its log says", &lines[lines.len().saturating_sub(TAIL)..]),
        some => ("its log says", some),
    };
    error.because(Hinted::new(format!("{what}\n    {}", shown.join("\n    "))))
}

/// Whether this can be the root of an instance.
pub(crate) fn check_rootfs(rootfs: &Path) -> anyhow::Result<()> {
    let launcher = rootfs.join(stage::LAUNCHER.trim_start_matches('/'));
    // A link in it leads somewhere inside, so it is not followed here.
    match fs::symlink_metadata(&launcher) {
        Ok(found) if found.is_symlink() || found.permissions().mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(Hinted::new(format!("`{}` cannot be executed", launcher.display()))
            .hint("unpack the image with its modes")
            .into()),
        Err(error) => Err(Hinted::new(format!("`{}` is no image that can be started", rootfs.display()))
            .because(Hinted::new(format!("cannot find `{}`", launcher.display())).because(error))
            .hint("make one: `from-scratch build -o dir:DIR`")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_programs_tell_why() {
        for line in [
            "Can't create ID mappings: open /etc/subuid: no such file or directory",
            "dockerd: error while loading shared libraries: libm.so.6: cannot open shared object file",
            "time=\"2026\" level=fatal msg=\"no\"",
            "error: the engine ended with status 127",
        ] {
            assert!(is_telling(line), "{line}");
        }
        for line in ["", "dockerlaunch: cgroup    v2", "time=\"2026\" level=info msg=\"containerd booted\""] {
            assert!(!is_telling(line), "{line}");
        }
    }

    #[test]
    fn what_the_documentation_lists_reaches_the_engine_but_for_the_clients_own() {
        let clients = ["DOCKER_HOST", "DOCKER_CERT_PATH", "SSL_CERT_FILE", "KUBERNETES_SERVICE_HOST"];
        for variable in variables::VARIABLES {
            let name = variable.name;
            let clients_own = name.starts_with("DOCKER_TLS_") || clients.contains(&name);
            let is_proxy = PROXIES.contains(&name);
            assert_ne!(is_meant_for_it(name) || is_proxy, clients_own, "{name}");
        }
        assert!(!is_meant_for_it("PATH"));
    }

    #[test]
    fn iptables_of_another_root_finds_its_own_extensions() {
        let root = tempfile::tempdir().expect("directory");
        let is_set = || {
            let env = environment(root.path(), &Authorities::default());
            env.iter().any(|variable| variable == "XTABLES_LIBDIR=/usr/lib/dockerlaunch/xtables")
        };
        assert!(!is_set());
        fs::create_dir_all(root.path().join("usr/lib/dockerlaunch/xtables")).expect("directory");
        assert!(is_set());
    }
}
