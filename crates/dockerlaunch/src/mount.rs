//! Mounting with fsopen(2), fsconfig(2), fsmount(2) and move_mount(2), which tell which option is wrong and why.

use std::os::fd::{AsFd, OwnedFd};

use dockerlaunch_plan::ActionError;
use rustix::io::Errno;
use rustix::mount::{
    self, FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};

/// An error of one call.
pub(crate) fn failed(call: &str) -> impl FnOnce(Errno) -> ActionError + '_ {
    move |errno| ActionError { call: call.to_owned(), reason: reason(errno), errno: errno.raw_os_error() }
}

/// `Operation not permitted (os error 1)`, as std words it.
pub(crate) fn reason(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// Mounts a new file system.
pub(crate) fn new(fstype: &str, target: &str, flags: &[String], data: &[String]) -> Result<(), ActionError> {
    let context = match mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        // Old seccomp profiles of outer runtimes know mount(2) only.
        Err(Errno::NOSYS | Errno::PERM) => return classic(fstype, target, flags, data),
        Err(errno) => return Err(failed("fsopen")(errno)),
    };
    let told = |call: &str, errno: Errno| {
        let mut error = failed(call)(errno);
        if let Some(message) = kernel_message(&context) {
            error.reason = format!("{} ({message})", error.reason);
        }
        error
    };
    let fd = context.as_fd();
    mount::fsconfig_set_string(fd, "source", fstype).map_err(|e| told("fsconfig(source)", e))?;
    for option in data {
        match option.split_once('=') {
            Some((key, value)) => mount::fsconfig_set_string(fd, key, value),
            None => mount::fsconfig_set_flag(fd, option.as_str()),
        }
        .map_err(|e| told(&format!("fsconfig({option})"), e))?;
    }
    mount::fsconfig_create(fd).map_err(|e| told("fsconfig(FSCONFIG_CMD_CREATE)", e))?;
    let attributes = flags.iter().fold(MountAttrFlags::empty(), |all, flag| all | attribute(flag));
    let detached =
        mount::fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|e| told("fsmount", e))?;
    let here = rustix::fs::CWD;
    mount::move_mount(detached.as_fd(), "", here, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("move_mount"))
}

/// What the kernel wrote into the file system context: `e tmpfs: Bad value for 'size'`.
fn kernel_message(context: &OwnedFd) -> Option<String> {
    let mut buffer = [0u8; 256];
    let length = rustix::io::read(context, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(buffer.get(..length)?);
    Some(text.trim().trim_start_matches("e ").to_owned())
}

fn attribute(flag: &str) -> MountAttrFlags {
    match flag {
        "nosuid" => MountAttrFlags::MOUNT_ATTR_NOSUID,
        "nodev" => MountAttrFlags::MOUNT_ATTR_NODEV,
        "noexec" => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        "ro" => MountAttrFlags::MOUNT_ATTR_RDONLY,
        _ => MountAttrFlags::empty(),
    }
}

/// umount2(2). A mount that a user namespace took over with others is locked to them (mount_namespaces(7)): it stays, and
/// what is mounted next covers it.
pub(crate) fn detach(target: &str) -> Result<(), ActionError> {
    match mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(failed("umount2")(errno)),
    }
}

/// mount(2) with `MS_REMOUNT | MS_BIND`, which changes the flags of this mount alone.
pub(crate) fn remount_writable(target: &str, flags: &[String]) -> Result<(), ActionError> {
    mount::mount_remount(target, MountFlags::BIND | mount_flags(flags), c"")
        .map_err(failed("mount(MS_REMOUNT)"))
}

/// mount(2).
fn classic(fstype: &str, target: &str, flags: &[String], data: &[String]) -> Result<(), ActionError> {
    let data = std::ffi::CString::new(data.join(",")).unwrap_or_default();
    mount::mount(fstype, target, fstype, mount_flags(flags), Some(data.as_c_str())).map_err(failed("mount"))
}

fn mount_flags(flags: &[String]) -> MountFlags {
    flags.iter().fold(MountFlags::empty(), |all, flag| {
        all | match flag.as_str() {
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "ro" => MountFlags::RDONLY,
            "relatime" => MountFlags::RELATIME,
            "noatime" => MountFlags::NOATIME,
            _ => MountFlags::empty(),
        }
    })
}

/// `mount --make-rshared`.
pub(crate) fn make_shared(target: &str) -> Result<(), ActionError> {
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount::mount_change(target, flags).map_err(failed("mount(MS_SHARED)"))
}

/// Binds `/` over `/` with all that is mounted below it, and makes that our root. The kernel's first root has no
/// parent, so pivot_root(2) refuses it; this one has (kernel Documentation/filesystems/ramfs-rootfs-initramfs.rst).
pub(crate) fn cover_root() -> Result<(), ActionError> {
    // A directory that is surely there, and that nothing is mounted on.
    const AT: &str = "/usr";
    mount::mount_bind_recursive("/", AT).map_err(failed("mount(MS_BIND)"))?;
    rustix::process::chdir(AT).map_err(failed("chdir"))?;
    mount::mount_move(".", "/").map_err(failed("mount(MS_MOVE)"))?;
    rustix::process::chroot(".").map_err(failed("chroot"))?;
    rustix::process::chdir("/").map_err(failed("chdir"))
}
