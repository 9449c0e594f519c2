//! `from-scratch up`: starts Docker without any container engine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cli::InstanceArgs;
use crate::commands::build::SourceArgs;
use crate::report::{self, Hinted};
use crate::sandbox::cgroup::Limits;
use crate::sandbox::network::{Network, Port};
use crate::sandbox::signals::{Interrupted, Signals};
use crate::sandbox::socket;
use crate::sandbox::stage::Bind;
use crate::sandbox::start::{self, Launch};
use crate::sandbox::state::{InstanceDir, Record, Status};
use crate::sandbox::stop;

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
    /// Memory for the whole instance, such as 512m or 2g
    #[arg(long, value_name = "BYTES", value_parser = parse_memory)]
    memory: Option<u64>,
    /// Processors for the whole instance, such as 1.5
    #[arg(long, value_name = "N", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Start an image that is unpacked already, as by `build -o dir:DIR`, instead of building one
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
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
    if args.network == Network::None && !args.publish.is_empty() {
        return Err(Hinted::new("`--publish` cannot be with `--network none`")
            .hint("leave out one of them")
            .into());
    }
    for bind in &args.volume {
        std::fs::metadata(&bind.source)
            .with_context(|| format!("cannot show `{}` inside", bind.source.display()))?;
    }
    let state = args.instance.state.dir()?;
    let dir = state.instance(name);
    // Before an image is built for nothing. What counts is the look under the lock.
    refuse_if_up(&dir, dir.record()?.as_ref())?;
    let launch = launch(args)?;

    let signals = Signals::that_interrupt()?;
    let state_was_there = state.path().is_dir();
    let lock = match dir.create_and_lock() {
        Ok(lock) => lock,
        Err(error) => {
            // Empty as it is, if the disk was full after the directory.
            let _ = std::fs::remove_dir(dir.path());
            remove_if_new(state.path(), state_was_there);
            return Err(error).with_context(|| format!("cannot start the instance `{name}`"));
        }
    };
    let started = start_locked(&dir, &launch, &signals);
    match started {
        Ok(record) => {
            tell(&record, begun.elapsed());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            dir.remove_if_empty(lock);
            remove_if_new(state.path(), state_was_there);
            if let Some(Interrupted(signal)) = error.downcast_ref() {
                eprintln!("interrupted: everything of the instance `{name}` is undone");
                return Ok(ExitCode::from(128 + *signal as u8));
            }
            Err(error.context(format!("cannot start the instance `{name}`")))
        }
    }
}

fn start_locked(dir: &InstanceDir, launch: &Launch, signals: &Signals) -> anyhow::Result<Record> {
    if let Some(record) = dir.record()? {
        refuse_if_up(dir, Some(&record))?;
        // Killed, or the machine was started anew: what is left is in the way, all but the data.
        stop::end(dir, &record, Duration::ZERO).context("cannot clear what its last run has left")?;
    }
    start::start(dir, launch, signals)
}

fn remove_if_new(state: &Path, was_there: bool) {
    if !was_there {
        // Not if something else is in it.
        let _ = std::fs::remove_dir(state);
    }
}

fn refuse_if_up(dir: &InstanceDir, record: Option<&Record>) -> anyhow::Result<()> {
    let Some(record) = record else { return Ok(()) };
    let what = match record.status() {
        Status::Dead => return Ok(()),
        Status::Starting => format!("the instance `{}` is being started already", dir.name),
        Status::Running => format!("the instance `{}` is up already", dir.name),
    };
    Err(Hinted::new(what)
        .hint(format!("use it: `docker -H unix://{}`", record.socket.display()))
        .hint(format!("stop it: `from-scratch down --name {}`", dir.name))
        .hint("start another one beside it: `from-scratch up --name OTHER`")
        .into())
}

fn launch(args: &UpArgs) -> anyhow::Result<Launch> {
    let (image, rootfs, tools) = match &args.rootfs {
        Some(dir) => {
            let dir = dir.canonicalize().map_err(|error| {
                Hinted::new(format!("cannot use `{}` as image", dir.display())).because(error)
            })?;
            (format!("dir:{}", dir.display()), dir, Err("no builder yet".to_owned()))
        }
        None => {
            let _ = &args.source;
            return Err(Hinted::new("this version cannot build the image by itself yet")
                .hint("name an unpacked one: `--rootfs DIR`")
                .into());
        }
    };
    start::check_rootfs(&rootfs)?;
    Ok(Launch {
        image,
        rootfs,
        network: args.network,
        tools,
        ports: args.publish.clone(),
        volumes: args.volume.clone(),
        limits: Limits { memory: args.memory, cpus: args.cpus },
        args: args.args.clone(),
    })
}

/// The socket for programs, on standard output; the rest for people.
fn tell(record: &Record, took: Duration) {
    let socket = record.socket.display().to_string();
    let host = format!("unix://{socket}");
    let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c));
    let quoted = if plain { host } else { format!("'{}'", host.replace('\'', r"'\''")) };
    let name = record.name.as_str();
    let option = if name == "default" { String::new() } else { format!(" --name {name}") };
    println!("DOCKER_HOST={quoted}");
    eprintln!("Docker answers after {:.1} s. To use it:", took.as_secs_f64());
    eprintln!("  docker -H {quoted} version");
    eprintln!("  from-scratch exec{option} docker version");
    eprintln!("To stop it: from-scratch down{option}");
    if !socket::fits(&record.socket) {
        let warning = Hinted::new("most clients cannot connect to a socket with so long a path")
            .hint(format!("use it from inside: `from-scratch exec{option} docker …`"))
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
    let source = std::path::absolute(source).map_err(|error| format!("`{source}`: {error}"))?;
    Ok(Bind { source, target })
}

fn parse_memory(text: &str) -> Result<u64, String> {
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
