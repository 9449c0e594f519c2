//! `from-scratch up`: starts Docker without any container engine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dockerlaunch_image::{Arch, BuildRequest, Progress};

use crate::cli::{InstanceArgs, quoted};
use crate::commands::build::SourceArgs;
use crate::progress::{BuildProgress, Stoppable};
use crate::publish::{self, Network, Port};
use crate::report::{self, Hinted};
use crate::sandbox::cgroup::Limits;
use crate::sandbox::socket;
use crate::sandbox::stage::Bind;
use crate::sandbox::start::{self, Launch};
use crate::sandbox::state::{InstanceDir, Record, StateDir, Status};
use crate::sandbox::stop;
use crate::sandbox::store::{Kept, Store};
use crate::signals::{Interrupted, Signals};

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// The way out of the instance
    #[arg(long, value_enum, default_value_t = Network::User)]
    network: Network,
    /// Lead a TCP port of the host inside; on 127.0.0.1 unless an address is given
    #[arg(short, long, value_name = "[IP:]PORT:PORT")]
    publish: Vec<Port>,
    /// Show a directory or file of the host inside
    #[arg(short, long, value_name = "SRC:DST", value_parser = parse_volume)]
    volume: Vec<Bind>,
    /// Seconds that Docker may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Memory for the whole instance, such as 512m or 2g; of swap as much again
    #[arg(long, value_name = "BYTES", value_parser = parse_memory)]
    memory: Option<u64>,
    /// Processors for the whole instance, such as 1.5
    #[arg(long, value_name = "N", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Start an image that is unpacked already, as by `build -o dir:DIR`, instead of building one
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Build the image anew, from the packages that the archive has now
    #[arg(long, conflicts_with = "rootfs")]
    rebuild: bool,
    #[command(flatten)]
    source: SourceArgs,
    /// Options of dockerd
    #[arg(last = true, value_name = "DOCKERD OPTIONS")]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    super::require_root("up")?;
    let begun = Instant::now();
    let name = &args.instance.name;
    publish::check(args.network, &args.publish)?;
    for bind in &args.volume {
        std::fs::metadata(&bind.source).map_err(|error| {
            Hinted::new(format!("cannot show `{}` inside", bind.source.display()))
                .because(error)
                .hint("name a directory or file of the host that exists: `-v SRC:DST`")
        })?;
    }
    let state = args.instance.state.dir()?;
    let dir = state.instance(name);
    // Before an image is built for nothing. What counts is the look under the lock.
    refuse_if_up(&args.instance, dir.record()?.as_ref())?;
    let state_was_there = state.path().is_dir();
    let started = build_and_start(args, &state, &dir);
    if started.is_err() {
        Store::images(&state).remove_if_empty();
        Store::tools(&state).remove_if_empty();
        if !state_was_there {
            // Not if something else is in it.
            let _ = std::fs::remove_dir(state.path());
        }
    }
    match started {
        Ok(record) => {
            tell(&args.instance, &record, begun.elapsed());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let Some(Interrupted(signal)) = error.downcast_ref() else {
                return Err(error.context(format!("cannot start the instance `{name}`")));
            };
            eprintln!("interrupted: all that was done for the instance `{name}` is undone");
            Ok(ExitCode::from(128 + *signal as u8))
        }
    }
}

fn build_and_start(args: &UpArgs, state: &StateDir, dir: &InstanceDir) -> anyhow::Result<Record> {
    let signals = Signals::that_interrupt()?;
    let build = Stoppable::new(BuildProgress::new()?, &signals);
    let launched = launch(args, state, &build);
    if let Some(signal) = build.stopped_by() {
        return Err(Interrupted(signal).into());
    }
    let (launch, kept) = launched?;
    let lock = dir.create_and_lock().inspect_err(|_| {
        // Empty as it is, if the disk was full after the directory.
        let _ = std::fs::remove_dir(dir.path());
    })?;
    let started = start_locked(&args.instance, dir, &launch, &signals);
    if started.is_err() {
        dir.remove_if_empty(lock);
    }
    // Its record names the image now, so the store need not be kept any longer.
    drop(kept);
    let record = started?;
    let used = state.records()?.into_iter().map(|record| record.rootfs).collect::<Vec<_>>();
    if let Err(error) = Store::images(state).clear_unused(&used) {
        eprintln!("warning: cannot clear away old images: {error:#}");
    }
    Ok(record)
}

fn start_locked(
    instance: &InstanceArgs,
    dir: &InstanceDir,
    launch: &Launch,
    signals: &Signals,
) -> anyhow::Result<Record> {
    if let Some(record) = dir.record()? {
        refuse_if_up(instance, Some(&record))?;
        // Killed, or the machine was started anew: what is left is in the way, all but the data.
        stop::end(dir, &record, Duration::ZERO).context("cannot clear what its last run has left")?;
    }
    start::start(dir, launch, signals)
}

fn refuse_if_up(instance: &InstanceArgs, record: Option<&Record>) -> anyhow::Result<()> {
    let Some(record) = record else { return Ok(()) };
    let what = match record.status() {
        Status::Dead => return Ok(()),
        Status::Starting => format!("the instance `{}` is being started already", instance.name),
        Status::Running => format!("the instance `{}` is up already", instance.name),
    };
    Err(Hinted::new(what)
        .hint(format!("use it: `docker -H unix://{}`", record.socket.display()))
        .hint(format!("stop it: `{}`", instance.command("down")))
        .hint("start another one beside it with `--name OTHER`")
        .into())
}

/// What is to be started; and what keeps the image there until it is.
fn launch(args: &UpArgs, state: &StateDir, progress: &dyn Progress) -> anyhow::Result<(Launch, Vec<Kept>)> {
    let request = args.source.request()?;
    let mut kept = Vec::new();
    let (image, rootfs) = match &args.rootfs {
        Some(dir) => {
            let dir = dir.canonicalize().map_err(|error| {
                Hinted::new(format!("cannot use `{}` as image", dir.display()))
                    .because(error)
                    .hint("make one: `from-scratch build -o dir:DIR`")
            })?;
            (format!("dir:{}", dir.display()), dir)
        }
        None => {
            if request.arch != Arch::HOST {
                return Err(Hinted::new(format!("an image for {} cannot run here", request.arch.name()))
                    .hint("leave out `--arch`, or only build it: `from-scratch build`")
                    .into());
            }
            let image = Store::images(state).get(&request, args.rebuild, progress)?;
            let (name, path) = (format!("{}@{}", request.suite, image.digest), image.path.clone());
            kept.push(image);
            (name, path)
        }
    };
    start::check_rootfs(&rootfs)?;
    let tools = match args.network {
        Network::User => {
            let only = Some(vec!["passt".to_owned()]);
            let request = BuildRequest {
                only,
                preload: Vec::new(),
                extra: Vec::new(),
                lock: None,
                engine: None,
                ..request
            };
            match Store::tools(state).get(&request, args.rebuild, progress) {
                Ok(tools) => {
                    let path = tools.path.clone();
                    kept.push(tools);
                    Ok(path)
                }
                // Only asked to stop, which the caller sees to, or really without it.
                Err(error) => Err(format!("{error:#}")),
            }
        }
        Network::None => Err("no way out was asked for".to_owned()),
    };
    let launch = Launch {
        image,
        rootfs,
        network: args.network,
        tools,
        ports: args.publish.clone(),
        volumes: args.volume.clone(),
        limits: Limits { memory: args.memory, cpus: args.cpus },
        args: args.args.clone(),
        patience: Duration::from_secs(args.timeout),
    };
    Ok((launch, kept))
}

/// The socket for programs, on standard output; the rest for people.
fn tell(instance: &InstanceArgs, record: &Record, took: Duration) {
    let host = quoted(&format!("unix://{}", record.socket.display()));
    println!("DOCKER_HOST={host}");
    eprintln!("Docker answers after {:.1} s. To use it:", took.as_secs_f64());
    eprintln!("  docker -H {host} version");
    eprintln!("  {} docker version", instance.command("exec"));
    eprintln!("To stop it: {}", instance.command("down"));
    if !socket::fits(&record.socket) {
        let warning = Hinted::new("most clients cannot connect to a socket with so long a path")
            .hint(format!("use it from inside: `{} docker …`", instance.command("exec")))
            .hint("choose a shorter `--state-dir`");
        eprint!("{}", report::render(&warning.into()).replacen("error:", "warning:", 1));
    }
}

fn parse_volume(text: &str) -> Result<Bind, String> {
    // The last colon, as a path of the host may have others.
    let (source, target) = text
        .rsplit_once(':')
        .filter(|(source, _)| !source.is_empty())
        .ok_or_else(|| format!("`{text}` is not SRC:DST, such as /srv/data:/data"))?;
    let target = PathBuf::from(target);
    if !target.is_absolute() || target == Path::new("/") {
        return Err(format!("`{}` is not an absolute path below `/` inside", target.display()));
    }
    if let Some(taken) = ["/dev", "/proc", "/sys"].iter().find(|taken| target.starts_with(taken)) {
        return Err(format!("`{}` would be hidden: the launcher mounts `{taken}` itself", target.display()));
    }
    let source = std::path::absolute(source).map_err(|error| format!("`{source}`: {error}"))?;
    Ok(Bind { source, target })
}

pub(super) fn parse_memory(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no amount of memory, such as 512m or 2g");
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (number, unit) = match number.char_indices().last() {
        Some((at, unit)) if "kmgt".contains(unit) => (&number[..at], unit),
        _ => (number, ' '),
    };
    let shift = match unit {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        _ => 0,
    };
    let bytes =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(wrong)?;
    // Less is not even enough for the engine to start, and would be found out late.
    if bytes < 64 << 20 { Err("Docker needs at least 64m".to_owned()) } else { Ok(bytes) }
}

fn parse_cpus(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..=4096.0).contains(&cpus) => Ok((cpus * 1000.0).round() as u64),
        _ => Err(format!("`{text}` is no number of processors, such as 1.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory() {
        assert_eq!(parse_memory("512m"), Ok(512 << 20));
        assert_eq!(parse_memory("2GiB"), Ok(2 << 30));
        assert_eq!(parse_memory("1073741824"), Ok(1 << 30));
        for wrong in ["", "m", "1.5g", "-1", "99999999999t", "10m"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpus() {
        assert_eq!(parse_cpus("1.5"), Ok(1500));
        for wrong in ["", "0", "-1", "NaN", "x"] {
            assert!(parse_cpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn volumes() {
        let bind = parse_volume("/a:b:/c").expect("volume");
        assert_eq!((bind.source.as_path(), bind.target.as_path()), (Path::new("/a:b"), Path::new("/c")));
        for wrong in ["/a", ":/a", "/a:b", "/a:/"] {
            assert!(parse_volume(wrong).is_err(), "{wrong}");
        }
    }
}
