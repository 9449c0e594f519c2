//! `from-scratch boot`: the image as a virtual machine.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dockerlaunch_image::{Arch, BuildError, BuildRequest, Compression, Output};

use super::build::SourceArgs;
use super::up::parse_memory;
use crate::machine::kernel::Kernel;
use crate::machine::qemu::{self, Accel, Machine};
use crate::machine::{modules, run};
use crate::progress::{BuildProgress, Stoppable};
use crate::publish::{self, Network, Port};
use crate::report::{self, Hinted};
use crate::sandbox::join::OURS;
use crate::sandbox::socket;
use crate::signals::{Interrupted, Signals};

/// Options of `boot`.
#[derive(Debug, clap::Args)]
pub(crate) struct BootArgs {
    /// Memory of the machine, such as 512m or 4g; the image lies in it
    #[arg(long, value_name = "BYTES", value_parser = parse_memory, default_value = "2g")]
    memory: u64,
    /// Processors of the machine (default: 2, or 1 where it is emulated)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: Option<u32>,
    /// Kernel to boot (default: the newest /boot/vmlinuz-*)
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Its modules, with the modules.dep of depmod (default: lib/modules/RELEASE beside the kernel or of this host)
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Keep images and containers on this disk, made with 20 GB if it is not there; without it they are in memory
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Remove the disk when the machine has ended
    #[arg(long)]
    rm: bool,
    /// The way out of the machine
    #[arg(long, value_enum, default_value_t = Network::User)]
    network: Network,
    /// Lead a TCP port of the host into the machine; on 127.0.0.1 unless an address is given
    #[arg(short, long, value_name = "[IP:]PORT:PORT")]
    publish: Vec<Port>,
    /// Set a variable for the launcher and the engine
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Who executes the machine (default: the processor, where that works)
    #[arg(long, value_enum)]
    accel: Option<Accel>,
    /// Run this when the engine is ready, then power off; its output and exit status become ours. The last option: all after it is the command
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, conflicts_with = "args")]
    exec: Vec<OsString>,
    #[command(flatten)]
    source: SourceArgs,
    /// Options of dockerd
    #[arg(last = true, value_name = "DOCKERD OPTIONS")]
    args: Vec<OsString>,
}

/// A disk that nobody has made yet.
const DISK: u64 = 20_000_000_000;

pub(crate) fn run(args: &BootArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::that_interrupt()?;
    match boot(args, &signals) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => match error.downcast_ref() {
            Some(Interrupted(signal)) => {
                eprintln!("interrupted: no machine runs any more");
                Ok(ExitCode::from(128 + *signal as u8))
            }
            None if args.exec.is_empty() => Err(error),
            // The command's own status is something else.
            None => {
                eprint!("{}", report::render(&error));
                Ok(ExitCode::from(OURS))
            }
        },
    }
}

fn boot(args: &BootArgs, signals: &Signals) -> anyhow::Result<u8> {
    // All that can be wrong, before anything is built for nothing.
    publish::check(args.network, &args.publish)?;
    let disk = args.disk.as_deref().map(|path| Disk::new(path, args.rm)).transpose()?;
    let append = qemu::append(args.network, disk.is_some(), &args.env, &args.args, &words(&args.exec)?)?;
    let kernel = Kernel::find(args.kernel.as_deref(), args.modules.as_deref())?;
    let scratch = tempfile::Builder::new().prefix("from-scratch-boot-").tempdir().map_err(|error| {
        Hinted::new("cannot make a directory for temporary files")
            .because(error)
            .hint("name one where you can write: `TMPDIR=DIR`; the image takes about 100 MB in it")
    })?;
    if !socket::fits(&scratch.path().join(qemu::MONITOR)) {
        return Err(Hinted::new(format!("the path `{}` is too long for a socket", scratch.path().display()))
            .hint("name a shorter directory for temporary files: `TMPDIR=/tmp`")
            .into());
    }
    let machine = Machine {
        kernel: kernel.image.clone(),
        initramfs: scratch.path().join("initramfs"),
        append,
        memory: args.memory,
        cpus: args.cpus,
        disk: disk.as_ref().map(|disk| disk.path.clone()),
        network: args.network,
        ports: args.publish.clone(),
        lines: scratch.path().to_path_buf(),
    };
    machine.args(Accel::Tcg)?;
    run::program()?;
    build(args, &kernel, &machine.initramfs, disk.is_some(), signals)?;
    let _disk = disk.map(Disk::make).transpose()?;
    eprintln!("machine  Linux {}, {} MiB; Ctrl-C stops it", kernel.release, args.memory >> 20);
    run::run(&machine, args.accel, signals)
}

/// The image with the modules of this kernel.
fn build(
    args: &BootArgs,
    kernel: &Kernel,
    to: &Path,
    has_disk: bool,
    signals: &Signals,
) -> anyhow::Result<()> {
    let request = args.source.request()?;
    if request.arch != Arch::Amd64 {
        return Err(Hinted::new(format!("a machine for {} cannot be booted here", request.arch.name()))
            .hint("leave out `--arch`, or only build it: `from-scratch build -o initramfs:FILE`")
            .into());
    }
    let modules = match &kernel.modules {
        None => None,
        Some(directory) => Some(modules::tree(directory, &kernel.release).map_err(|error| {
            Hinted::new(format!("cannot read the modules in `{}`", directory.display()))
                .because(error)
                .hint(format!("after a change to them run `depmod {}`", kernel.release))
        })?),
    };
    let mut with = request.with.clone();
    // A new disk is empty.
    with.extend((has_disk && !request.without.iter().any(|name| name == "ext4")).then(|| "ext4".to_owned()));
    let request = BuildRequest {
        with,
        initramfs_extra: modules,
        // Every kernel of a distribution unpacks it.
        compression: Compression::Zstd(1),
        outputs: vec![Output::Initramfs(to.to_path_buf())],
        ..request
    };
    let progress = Stoppable::new(BuildProgress::new()?, signals);
    match dockerlaunch_image::build(&request, &progress) {
        Err(BuildError::Cancelled) => Err(match progress.stopped_by() {
            Some(signal) => Interrupted(signal).into(),
            None => BuildError::Cancelled.into(),
        }),
        built => Ok(built.map(drop)?),
    }
}

/// The file of a machine's disk.
struct Disk {
    path: PathBuf,
    is_new: bool,
    temporary: bool,
    /// We have made it, and it goes with us.
    goes: bool,
}

impl Disk {
    fn new(path: &Path, temporary: bool) -> Result<Self, Hinted> {
        let unusable = || Hinted::new(format!("cannot use `{}` as a disk", path.display()));
        let path = std::path::absolute(path).map_err(|error| unusable().because(error))?;
        let is_new = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(_) => false,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => {
                return Err(unusable()
                    .because(error)
                    .hint("name a file that you can write, or one that is not there"));
            }
        };
        if temporary && !is_new {
            return Err(Hinted::new(format!(
                "`--rm` would remove `{}`, which was there before",
                path.display()
            ))
            .hint("leave out `--rm`, or name a disk that is not there"));
        }
        Ok(Self { path, is_new, temporary, goes: false })
    }

    /// Takes up what is used.
    fn make(mut self) -> Result<Self, Hinted> {
        if !self.is_new {
            return Ok(self);
        }
        let failed = |error| {
            Hinted::new(format!("cannot make the disk `{}`", self.path.display()))
                .because(error)
                .hint("name a file in a directory that is there, and that you can write in, on a file system that takes 20 GB in one file")
        };
        let file = OpenOptions::new().write(true).create_new(true).open(&self.path).map_err(failed)?;
        file.set_len(DISK).map_err(|error| {
            let _ = std::fs::remove_file(&self.path);
            failed(error)
        })?;
        self.goes = self.temporary;
        Ok(self)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.goes {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A command as words, or as a line of plain ones.
fn words(exec: &[OsString]) -> Result<Vec<OsString>, Hinted> {
    let line = match exec {
        [line] => line.to_string_lossy(),
        words => return Ok(words.to_vec()),
    };
    if line.contains(char::is_whitespace) && line.contains(['\'', '"', '\\']) {
        return Err(Hinted::new(format!(
            "`--exec {}`: nobody here takes quotes off",
            crate::cli::quoted(&line)
        ))
        .hint("give the command as words of its own: `--exec docker run image sh -c 'echo a b'`"));
    }
    Ok(line.split_whitespace().map(OsString::from).collect())
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let is_name = |name: &str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().next().is_some_and(|c| !c.is_ascii_digit())
    };
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_words_or_a_line_of_them() {
        let split = |line: &[&str]| words(&line.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(split(&["docker run  --rm box"]).unwrap(), ["docker", "run", "--rm", "box"]);
        assert_eq!(split(&["docker", "run", "a b"]).unwrap(), ["docker", "run", "a b"]);
        assert_eq!(split(&["docker"]).unwrap(), ["docker"]);
        assert!(split(&[]).unwrap().is_empty());
        assert!(split(&["sh -c 'echo a; exit 3'"]).is_err());
    }

    #[test]
    fn variables_have_a_name_and_a_value() {
        assert_eq!(parse_variable("DOCKERD_MTU=1400"), Ok(("DOCKERD_MTU".into(), "1400".into())));
        assert_eq!(parse_variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        for wrong in ["", "A", "=b", "a.b=c", "1=2"] {
            assert!(parse_variable(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_disk_that_was_there_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        drop(Disk::new(&path, false).unwrap().make().unwrap());
        assert_eq!(path.metadata().unwrap().len(), DISK);
        assert!(Disk::new(&path, true).is_err());
        drop(Disk::new(&path, false).unwrap().make().unwrap());
        assert!(path.exists());
        let other = directory.path().join("other");
        drop(Disk::new(&other, true).unwrap().make().unwrap());
        assert!(!other.exists());
        assert!(Disk::new(directory.path(), false).is_err());
        assert!(Disk::new(&directory.path().join("no/disk"), true).unwrap().make().is_err());
        // Somebody else was faster.
        let ours = Disk::new(&other, true).unwrap();
        std::fs::write(&other, "theirs").unwrap();
        assert!(ours.make().is_err() && other.exists());
    }
}
