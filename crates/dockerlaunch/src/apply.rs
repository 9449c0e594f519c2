//! The executor: one action, the system calls for it.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

use dockerlaunch_plan::facts::{Cidr, certificates};
use dockerlaunch_plan::{Action, ActionError, Executor};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::listener::{self, Listener};
use crate::mount::{self, failed};
use crate::names::{self, Answering};
use crate::say::say;
use crate::{atomic, cert, cgroup, disk, lock, module, netlink};

/// Performs actions on this system, and at log level `debug` tells each one with its time.
#[derive(Debug, Default)]
pub struct System {
    /// Sockets that actions have bound.
    pub(crate) listeners: Vec<Listener>,
    /// The lock of the data root, once it was asked for; `None` in it where there can be none.
    pub(crate) lock: Option<Option<fs::File>>,
    /// Steps, and when they began.
    pub(crate) steps: Vec<(&'static str, Instant)>,
    /// Those of our own nameserver.
    pub(crate) names: Option<Answering>,
}

impl Executor for System {
    fn begin(&mut self, step: &'static str) {
        self.steps.push((step, Instant::now()));
    }

    fn run(&mut self, action: &Action) -> Result<(), ActionError> {
        let start = Instant::now();
        let result = match (action, listener::listen(action)) {
            (_, Some(bound)) => bound.map(|listener| self.listeners.push(listener)),
            (Action::LockDataRoot { path, wait }, _) => {
                lock::take(path, *wait).map(|lock| self.lock = Some(lock))
            }
            (Action::AnswerNames { address }, _) => {
                names::bind(*address).map(|bound| self.names = Some(bound)).map_err(io_failed("bind"))
            }
            _ => perform(action),
        };
        let word = if result.is_ok() { "done" } else { "failed" };
        say!(Debug, "{word} {:6.2} ms  {action}", start.elapsed().as_secs_f64() * 1e3);
        if let (Action::SetAside { from, to }, Ok(())) = (action, &result) {
            say!(Warn, "{from} was empty or broken and would stop the daemon: set aside as {to}");
        }
        result
    }
}

fn perform(action: &Action) -> Result<(), ActionError> {
    match action {
        Action::Mount { fstype, target, flags, data } => mount::new(fstype, target, flags, data),
        Action::CoverRoot => mount::cover_root(),
        Action::MakeShared { target } => mount::make_shared(target),
        Action::Mkdir { path, mode } => mkdir(path, *mode),
        Action::Symlink { path, target } => rustix::fs::symlink(target, path).map_err(failed("symlink")),
        Action::MakeNode { path, major, minor, mode } => make_node(path, *major, *minor, *mode),
        Action::WriteFile { path, content, mode } => write_new(path, content.as_bytes(), *mode),
        Action::ReplaceFile { path, content, mode } => {
            atomic::replace(path, content.as_bytes(), *mode).map_err(io_failed("write"))
        }
        Action::BundleCertificates { from, text, to } => bundle(from, text.as_deref(), to),
        Action::MakeKey { path, mode } => cert::make_key(path, *mode),
        Action::SetMode { path, mode } => set_mode(path, *mode).map_err(failed("fchmod")),
        Action::IssueCertificate { path, key, directory, role } => cert::issue(path, key, directory, role),
        Action::InstallFile { from, to, mode } => {
            let content = fs::read(from).map_err(io_failed("read"))?;
            atomic::replace(to, &content, *mode).map_err(io_failed("write"))
        }
        // They give something, so the executor does them itself.
        Action::ListenTcp { .. }
        | Action::ListenUnix { .. }
        | Action::LockDataRoot { .. }
        | Action::AnswerNames { .. } => Ok(()),
        Action::MountLoop { target, size, mkfs } => disk::mount_loop(target, *size, mkfs.as_deref()),
        Action::CopyFile { from, to } => copy_new(from, to),
        Action::WriteKnob { path, value } => fs::write(path, value).map_err(io_failed("write")),
        Action::PrivateCgroups => cgroup::private(),
        Action::Unmount { target } => mount::detach(target),
        Action::RemountWritable { target, flags } => mount::remount_writable(target, flags),
        Action::NestCgroup { cgroup, leaf } => cgroup::nest(cgroup, leaf, cgroup::PATIENCE),
        Action::CreateBridge { name } => {
            netlink::create_bridge(name).map_err(io_failed("netlink(RTM_NEWLINK, bridge)"))
        }
        Action::AddAddress { name, address } => add_address(name, *address),
        Action::AddRoute { name, gateway } => {
            netlink::add_route(name, *gateway).map_err(io_failed("netlink(RTM_NEWROUTE)"))
        }
        Action::LoadDrivers { .. } => {
            module::load_drivers();
            Ok(())
        }
        Action::MountDevice { device, target, fstype, mkfs } => {
            disk::mount_device(device, target, fstype, mkfs.as_deref())
        }
        Action::LinkUp { name } => netlink::link_up(name).map_err(io_failed("netlink(RTM_NEWLINK)")),
        Action::LimitNofile { soft, hard } => {
            let limit = rustix::process::Rlimit { current: Some(*soft), maximum: Some(*hard) };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).map_err(failed("setrlimit"))
        }
        Action::Remove { path } => match fs::remove_file(path) {
            // Hidden by a mount of ours, or gone by itself: gone is what was wanted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io_failed("unlink")),
        },
        Action::SetAside { from, to } => fs::rename(from, free_name(to)).map_err(io_failed("rename")),
    }
}

/// `RTM_NEWADDR`. Where new interfaces come without IPv6, as in many containers, it is switched on for this one first.
fn add_address(name: &str, address: Cidr) -> Result<(), ActionError> {
    let knob = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if address.address.is_ipv6() && fs::read_to_string(&knob).is_ok_and(|value| value.trim() == "1") {
        fs::write(&knob, "0").map_err(io_failed("write disable_ipv6"))?;
    }
    netlink::add_address(name, address).map_err(io_failed("netlink(RTM_NEWADDR)"))
}

/// An error of std, with the call that it stands for.
pub(crate) fn io_failed(call: &str) -> impl FnOnce(io::Error) -> ActionError + '_ {
    move |error| ActionError {
        call: call.to_owned(),
        reason: error.to_string(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

/// fchmod(2) of a regular file; whoever may write the directory must not lead us elsewhere by a link.
fn set_mode(path: &str, mode: u32) -> Result<(), rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(rustix::io::Errno::INVAL);
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
}

/// mkdir(2), then chmod(2): the umask must not decide over `/tmp`. A directory that appeared meanwhile is fine.
fn mkdir(path: &str, mode: u32) -> Result<(), ActionError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Err(rustix::io::Errno::EXIST) if Path::new(path).is_dir() => Ok(()),
        Err(errno) => Err(failed("mkdir")(errno)),
        // cgroupfs has its own idea of modes, and needs none of ours.
        Ok(()) if path.starts_with("/sys/") => Ok(()),
        Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(failed("chmod")),
    }
}

/// mknod(2). In a devtmpfs the kernel may have made the same one meanwhile, with a driver that it has loaded.
fn make_node(path: &str, major: u32, minor: u32, mode: u32) -> Result<(), ActionError> {
    let device = rustix::fs::makedev(major, minor);
    let is_there = || {
        rustix::fs::lstat(path).is_ok_and(|node| {
            FileType::from_raw_mode(node.st_mode) == FileType::CharacterDevice && node.st_rdev == device
        })
    };
    match rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(mode), device) {
        Err(rustix::io::Errno::EXIST) if is_there() => return Ok(()),
        made => made.map_err(failed("mknod"))?,
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(failed("chmod"))
}

/// The name itself, or with the first number that is free.
fn free_name(name: &str) -> String {
    let numbered = (1..).map(|n| format!("{name}.{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|n| !Path::new(n).exists()).unwrap_or_default()
}

/// Writes a file that must not exist yet.
fn write_new(path: &str, content: &[u8], mode: u32) -> Result<(), ActionError> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(io_failed("open"))?;
    io::Write::write_all(&mut file, content).map_err(io_failed("write"))
}

fn bundle(from: &[String], text: Option<&str>, to: &str) -> Result<(), ActionError> {
    let texts: Vec<String> =
        from.iter().map(fs::read_to_string).collect::<io::Result<_>>().map_err(io_failed("read"))?;
    let all = certificates::bundle(texts.iter().map(String::as_str).chain(text));
    atomic::replace(to, all.as_bytes(), 0o644).map_err(io_failed("write"))
}

/// Copies a file to a place where none is, parents included.
fn copy_new(from: &str, to: &str) -> Result<(), ActionError> {
    let content = fs::read(from).map_err(io_failed("read"))?;
    let mode = fs::metadata(from).map_err(io_failed("stat"))?.permissions().mode();
    if let Some(parent) = Path::new(to).parent() {
        fs::create_dir_all(parent).map_err(io_failed("mkdir"))?;
    }
    write_new(to, &content, mode & 0o777)
}
