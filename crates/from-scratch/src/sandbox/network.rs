//! The way out of an instance: `pasta` moves packets between its network namespace and the host's sockets.
//!
//! Nothing on the host changes for it: no link, no route, no firewall rule. Left to its defaults it would
//! publish every port that listens inside and let containers reach the host's loopback: all of that is off.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::process::ProcessId;
use super::state::InstanceDir;
use crate::publish::Port;
use crate::signals::{Interrupted, Signals};
use crate::spawn::Spawn;

/// Where things lie in what the builder makes.
const PRIVATE: &str = "usr/lib/dockerlaunch";

/// How long pasta may take to set up its side.
const PATIENCE: Duration = Duration::from_secs(10);

/// The address, which is nobody's (RFC 3927), at which the first resolver of a host is found that has them on loopback alone.
const FORWARDED: &str = "169.254.1.1";

/// Makes a network namespace that nothing is in yet.
pub(crate) fn new_namespace() -> anyhow::Result<File> {
    // A thread of its own, as it stays in the namespace that it has made.
    let made = std::thread::spawn(|| -> io::Result<File> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    });
    made.join()
        .map_err(|_| anyhow::anyhow!("the thread that makes the network namespace failed"))?
        .context("cannot make a network namespace")
}

/// Starts pasta out of `tools`, a directory that the builder has made.
pub(crate) fn start_pasta(
    tools: &Path,
    namespace: &File,
    ports: &[Port],
    dir: &InstanceDir,
) -> anyhow::Result<ProcessId> {
    let (program, mut args) = command(tools)?;
    args.extend(["-f", "--config-net", "--runas", "0", "--no-map-gw"].map(OsString::from));
    if ports.is_empty() {
        args.extend(["-t", "none"].map(OsString::from));
    }
    for port in ports {
        args.extend(["-t".into(), port.spec().into()]);
    }
    args.extend(["-u", "none", "-T", "none", "-U", "none"].map(OsString::from));
    if resolv_conf().is_some_and(|text| text.contains(FORWARDED)) {
        args.extend(["--dns-forward", FORWARDED].map(OsString::from));
    }
    // pasta refuses a path below /proc/PID/ns, and takes its own standard input.
    args.extend(["--no-netns-quit", "--netns", "/proc/self/fd/0", "-P"].map(OsString::from));
    args.push(dir.pasta_pid().into());

    let log = File::create(dir.pasta_log())?;
    let pid = Spawn::new(&program, OsStr::new("pasta"))?
        .args(args)?
        .own_env()?
        .fd(namespace, 0)?
        .fd(&log, 1)?
        .fd(&log, 2)?
        .start()
        .with_context(|| format!("cannot run `{}`", program.display()))?;
    Ok(ProcessId::of(pid)?)
}

/// Returns when pasta has set up its side.
pub(crate) fn wait_until_ready(
    process: &ProcessId,
    dir: &InstanceDir,
    signals: &Signals,
) -> anyhow::Result<()> {
    let pid = process.pid;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if fs::read(dir.pasta_pid()).is_ok_and(|text| !text.is_empty()) {
            return Ok(());
        }
        let failed = match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive if Instant::now() < deadline => None,
            WaitStatus::StillAlive => Some("pasta does not become ready".to_owned()),
            ended => {
                let log = fs::read_to_string(dir.pasta_log()).unwrap_or_default();
                Some(log.lines().last().map_or_else(|| format!("pasta: {ended:?}"), str::to_owned))
            }
        };
        let interrupted = signals.next()?;
        if failed.is_some() || interrupted.is_some() {
            super::stop::end_process(process, Duration::ZERO, &|| {})?;
            let _ = waitpid(Pid::from_raw(pid), None);
        }
        if let Some(signal) = interrupted {
            return Err(Interrupted(signal).into());
        }
        if let Some(failed) = failed {
            anyhow::bail!(failed);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The program and its first arguments. The host has no loader at the private path that the builder wrote into
/// its programs, so the loader is called by name.
fn command(tools: &Path) -> anyhow::Result<(PathBuf, Vec<OsString>)> {
    let private = tools.join(PRIVATE);
    let program = ["pasta", "passt"]
        .map(|name| private.join("bin").join(name))
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("there is no pasta in `{}`", private.display()))?;
    let loader = private.join("ld");
    if !loader.exists() {
        return Ok((program, Vec::new()));
    }
    let args = vec![
        "--library-path".into(),
        private.join("lib").into(),
        "--argv0".into(),
        "pasta".into(),
        program.into(),
    ];
    Ok((loader, args))
}

/// What the instance can use of the host's resolvers: those on the host's own loopback by way of pasta.
pub(crate) fn resolv_conf() -> Option<String> {
    // The second is what systemd-resolved knows when the first names its stub on loopback.
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    usable(files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect())
}

fn usable(texts: Vec<String>) -> Option<String> {
    let names_one = |text: &String| text.lines().any(|line| line.trim_start().starts_with("nameserver"));
    let kept: Vec<String> = texts.iter().map(|text| without_loopback(text)).collect();
    if let Some(found) = kept.iter().find(|text| names_one(text)) {
        return Some(found.clone());
    }
    let (_, rest) = texts.iter().zip(kept).find(|(text, _)| names_one(text))?;
    Some(format!("nameserver {FORWARDED}\n{rest}"))
}

fn without_loopback(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keep = match words.next() {
            Some("nameserver") => words
                .next()
                .and_then(|address| address.split('%').next()?.parse::<IpAddr>().ok())
                .is_some_and(|address| !address.is_loopback()),
            Some("search" | "domain" | "options") => true,
            _ => false,
        };
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_on_loopback_are_left_out() {
        let text =
            "# made by\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a.b\n";
        let kept = "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a.b\n";
        assert_eq!(without_loopback(text), kept);
        let stub = "nameserver 127.0.0.53\noptions edns0\n".to_owned();
        assert_eq!(usable(vec![stub.clone(), text.to_owned()]).as_deref(), Some(kept));
        assert_eq!(usable(vec![stub]).as_deref(), Some("nameserver 169.254.1.1\noptions edns0\n"));
        assert_eq!(usable(vec!["search a.b\n".to_owned()]), None);
    }
}
