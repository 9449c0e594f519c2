//! The data root on a disk, or on an ext4 in a file, which a loop device (loop(4)) carries that goes when it is unmounted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use dockerlaunch_plan::ActionError;
use dockerlaunch_plan::facts::storage::{IMAGE, bytes};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, statvfs};
use rustix::mount::MountFlags;

use crate::apply::io_failed;
use crate::mount::failed;
use crate::say::say;
use crate::sys;

/// Character device 10:237, and block devices of major 7 (kernel Documentation/admin-guide/devices.txt).
const CONTROL: (&str, FileType, u32, u32) = ("/dev/loop-control", FileType::CharacterDevice, 10, 237);

/// Somebody else may take a free device before us.
const TRIES: u32 = 20;

/// Mounts a disk over a directory; `mkfs` gives it its file system first.
pub(crate) fn mount_device(
    device: &str,
    target: &str,
    fstype: &str,
    mkfs: Option<&str>,
) -> Result<(), ActionError> {
    if let Some(mkfs) = mkfs {
        format(device, fstype, mkfs)?;
    }
    rustix::mount::mount(device, target, fstype, MountFlags::empty(), None).map_err(failed("mount"))
}

/// Mounts the image over the directory that it lies in; `mkfs` makes it first.
pub(crate) fn mount_loop(target: &str, size: u64, mkfs: Option<&str>) -> Result<(), ActionError> {
    let image = format!("{target}/{IMAGE}");
    if let Some(mkfs) = mkfs {
        make(&image, size, mkfs)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(&image).map_err(io_failed("open"))?;
    let (name, device) = attach(&file).map_err(io_failed("ioctl(LOOP_CONFIGURE)"))?;
    rustix::mount::mount(&*name, target, "ext4", MountFlags::empty(), None).map_err(failed("mount(ext4)"))?;
    // From now on the mount alone holds it.
    drop(device);
    Ok(())
}

/// Under another name first: a file that was not finished is made anew.
fn make(image: &str, size: u64, mkfs: &str) -> Result<(), ActionError> {
    let free = Path::new(image).parent().and_then(|at| statvfs(at).ok()).map(|fs| fs.f_bavail * fs.f_frsize);
    if let Some(free) = free.filter(|free| *free < size) {
        say!(Warn, "{image} may grow to {}, and only {} are free there", bytes(size), bytes(free));
    }
    let new = format!("{image}.new");
    File::create(&new).and_then(|file| file.set_len(size)).map_err(io_failed("create"))?;
    format(&new, "ext4", mkfs)?;
    fs::rename(&new, image).map_err(io_failed("rename"))
}

/// mke2fs(8) of a file or a device in full. It does not ask whether something lies there (`-F`): who calls this has looked.
fn format(path: &str, fstype: &str, mkfs: &str) -> Result<(), ActionError> {
    let mut command = Command::new(mkfs);
    command.args(["-q", "-F", "-t", fstype, "-m", "0", path]).stdin(Stdio::null());
    // What it has to say, it says on our standard error.
    let status = sys::spawn_unblocked(&mut command).and_then(|mut child| child.wait());
    if !status.map_err(io_failed(mkfs))?.success() {
        return Err(io_failed(mkfs)(io::Error::other("it failed")));
    }
    Ok(())
}

fn attach(file: &File) -> io::Result<(String, File)> {
    let control = open(CONTROL)?;
    let mut tries = 0;
    loop {
        let number = sys::free_loop(control.as_fd())?;
        let name = format!("/dev/loop{number}");
        let device = open((&name, FileType::BlockDevice, 7, number))?;
        match sys::configure_loop(device.as_fd(), file.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < TRIES => tries += 1,
            result => return result.map(|()| (name, device)),
        }
    }
}

/// Opens a device; its node is made where it is missing.
fn open((path, kind, major, minor): (&str, FileType, u32, u32)) -> io::Result<File> {
    if !Path::new(path).exists() {
        mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), makedev(major, minor))?;
    }
    OpenOptions::new().read(true).write(true).open(path)
}
