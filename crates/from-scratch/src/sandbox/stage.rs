//! The process between `up` and PID 1 of an instance.
//!
//! It enters the cgroups, a keyring and the new namespaces, lays out the root and starts PID 1, which finds a system in
//! which nothing is set up: no /proc, no /sys, no /dev. `up` itself stays on the host.
//! All of this comes before PID 1 starts, so that its start time is the launcher's own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, umask};
use rustix::fs::{CWD, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroups;
use super::name::InstanceName;
use crate::report::{Hinted, Report};
use crate::spawn::{Spawn, close_above, leave_session_keyring};

/// PID 1 of an instance.
pub(crate) const LAUNCHER: &str = "/usr/bin/dockerlaunch";

/// The API socket: the first number of systemd's protocol, so it stays where it is for PID 1.
pub(crate) const SOCKET_FD: RawFd = 3;
/// The network namespace to enter.
pub(crate) const NETWORK_FD: RawFd = 4;
/// The `Plan`, as JSON.
pub(crate) const PLAN_FD: RawFd = 5;

/// What the stage is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: InstanceName,
    /// The `up` that waits for the answer.
    pub(crate) parent: i32,
    /// The instance's directory, with `upper`, `work` and `root` in it.
    pub(crate) dir: PathBuf,
    /// The unpacked image, which stays as it is.
    pub(crate) rootfs: PathBuf,
    pub(crate) binds: Vec<Bind>,
    pub(crate) resolv_conf: Option<String>,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<OsString>,
}

/// A directory or file of the host that is to be seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    pub(crate) source: PathBuf,
    /// Absolute, inside.
    pub(crate) target: PathBuf,
}

/// What it answers, on standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// PID 1 runs, with this number as the host sees it.
    Started(i32),
    Failed(Report),
}

/// The hidden subcommand.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let answer = match start() {
        Ok(pid) => Answer::Started(pid),
        Err(error) => Answer::Failed(Report::of(&error)),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    io::stdout().write_all(&line)?;
    io::stdout().flush()?;
    // As long as its parent lives and has not waited for it, the number of PID 1 cannot be given away: `up` hangs
    // up when it holds the process.
    let _ = rustix::io::read(rustix::stdio::stdout(), &mut [0; 1]);
    Ok(ExitCode::SUCCESS)
}

fn start() -> anyhow::Result<i32> {
    close_above(PLAN_FD)?;
    umask(Mode::from_bits_truncate(0o022));
    let plan: Plan = serde_json::from_str(&fs::read_to_string(own_fd(PLAN_FD))?)?;
    // An `up` that is killed must not leave somebody behind who goes on where the next `up` clears away.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    anyhow::ensure!(
        rustix::process::Pid::as_raw(rustix::process::getppid()) == plan.parent,
        "`up` has ended"
    );
    leave_session_keyring().context("cannot make a session keyring")?;
    Cgroups::of(&plan.name)?.enter()?;
    setns(File::open(own_fd(NETWORK_FD))?, CloneFlags::CLONE_NEWNET)
        .context("cannot enter the new network namespace")?;
    // The cgroup namespace must come after the cgroups: its root is where this process is now.
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .map_err(|error| {
        Hinted::new("cannot make namespaces")
            .because(error)
            .hint("run where root has CAP_SYS_ADMIN; in a container, start that one with `--privileged`")
    })?;
    rustix::system::sethostname(plan.name.as_str().as_bytes()).context("cannot set the host name")?;
    change_root(&plan).context("cannot lay out the root directory")?;
    nix::unistd::close(NETWORK_FD)?;
    nix::unistd::close(PLAN_FD)?;
    start_launcher(&plan)
}

fn own_fd(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// Makes an overlay over the image the root of this mount namespace, with nothing in it but the binds.
fn change_root(plan: &Plan) -> anyhow::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make `/` private")?;
    let root = plan.dir.join("root");
    let overlay = overlay(plan)?;
    // Held before the host's root goes, and put in place after it has gone: so a link inside the image is
    // followed inside, and no path of the host can be reached by it.
    let binds = plan
        .binds
        .iter()
        .map(|bind| Ok((detached(&bind.source)?, bind.target.as_path())))
        .collect::<anyhow::Result<Vec<_>>>()?;
    move_mount(&overlay, "", CWD, &root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("cannot mount at `{}`", root.display()))?;
    rustix::process::chdir(&root)?;
    rustix::process::pivot_root(".", ".").map_err(|error| {
        Hinted::new("cannot leave the host's root: pivot_root")
            .because(error)
            .hint("the host's root must not be an initramfs: switch to another root first")
    })?;
    // The old root lies on top of the new one now.
    unmount(".", UnmountFlags::DETACH).context("cannot let go of the host's root")?;
    rustix::process::chdir("/")?;
    // Before the binds: what the user puts over it is the user's, and on the host.
    if let Some(text) = &plan.resolv_conf {
        write_resolv_conf(Path::new("/etc"), text).context("cannot write `/etc/resolv.conf` inside")?;
    }
    for (tree, target) in binds {
        attach(&tree, target).with_context(|| format!("cannot bind to `{}` inside", target.display()))?;
    }
    Ok(())
}

/// A system that keeps a link there, as systemd-resolved has it, loses the link: what it leads to is not there, or will be
/// hidden when `/run` is mounted.
fn write_resolv_conf(etc: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(etc)?;
    let file = etc.join("resolv.conf");
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::write(file, text),
    }
}

/// The image below, what changes above. Directories are handed over as descriptors, so that a comma or a colon
/// in a path is nothing special.
fn overlay(plan: &Plan) -> anyhow::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| {
        Hinted::new("this kernel has no overlay file system")
            .because(error)
            .hint("load it: `modprobe overlay`")
    })?;
    let layers = [
        ("lowerdir", plan.rootfs.clone()),
        ("upperdir", plan.dir.join("overlay/upper")),
        ("workdir", plan.dir.join("overlay/work")),
    ];
    fsconfig_set_string(&context, "source", "from-scratch")?;
    let mut held = Vec::new();
    for (option, path) in layers {
        let dir = rustix::fs::open(
            &path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .with_context(|| format!("cannot open `{}`", path.display()))?;
        fsconfig_set_string(&context, option, own_fd(dir.as_raw_fd()))?;
        held.push(dir);
    }
    fsconfig_create(&context).map_err(|error| {
        let mut hinted = Hinted::new(format!("cannot make an overlay in `{}`", plan.dir.display()));
        hinted = match kernel_says(&context) {
            Some(words) => hinted.because(Hinted::new(words).because(error)),
            None => hinted.because(error),
        };
        hinted.hint("its file system must take an overlay's upper layer, as ext4, xfs, btrfs and tmpfs do: `--state-dir DIR`")
    })?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// The kernel's own explanation of a failed mount.
fn kernel_says(context: &OwnedFd) -> Option<String> {
    let mut words = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(count) = rustix::io::read(context, &mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]);
        // "e overlay: …": a letter for how bad it is comes first.
        words.push(text.get(2..).unwrap_or_default().trim().to_owned());
    }
    (!words.is_empty()).then(|| words.join("; "))
}

/// A copy of what is mounted at `source`, mounted nowhere yet.
fn detached(source: &Path) -> anyhow::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, source, flags).with_context(|| format!("cannot bind `{}`", source.display()))
}

fn attach(tree: &OwnedFd, target: &Path) -> anyhow::Result<()> {
    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode).is_dir() {
        DirBuilder::new().recursive(true).mode(0o755).create(target)?;
    } else {
        if let Some(parent) = target.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        File::options().create(true).append(true).open(target)?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(move_mount(tree, "", CWD, target, flags)?)
}

fn start_launcher(plan: &Plan) -> anyhow::Result<i32> {
    let launcher = Path::new(LAUNCHER);
    // By its name: the engine is then started with what was asked for alone, and listens on the socket that it is
    // handed. Without one the launcher adds TCP and TLS, as `docker:dind` does.
    let only_options = plan.args.first().is_none_or(|first| first.as_bytes().starts_with(b"-"));
    let engine: &[&str] = if only_options { &["dockerd"] } else { &[] };
    let started = Spawn::new(launcher, OsStr::new(LAUNCHER))?
        .args(engine)?
        .args(&plan.args)?
        .env(&plan.env)?
        .fd(rustix::stdio::stderr(), 1)?
        .start();
    started.map_err(|error| {
        let hint = "the image is damaged, or made for another kind of machine: build it anew";
        Hinted::new(format!("cannot start `{LAUNCHER}`")).because(error).hint(hint).into()
    })
}
