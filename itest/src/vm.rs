//! A virtual machine whose kernel starts our launcher as its init: software emulation, the serial line as the only witness.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{build, command, image, need, product};

pub mod booted;
pub mod firewall;

/// Emulated, a boot with a few containers takes about four minutes on two cores.
const DEADLINE: Duration = Duration::from_secs(1200);

/// All that it has.
const MEMORY: &str = "3072M";

/// Every line that the test's script prints starts so; the rest of the serial log is the kernel's and the launcher's.
pub const MARK: &str = "itest:";

/// What the serial line showed and how qemu ended.
#[derive(Debug)]
pub struct Boot {
    /// The whole serial log.
    pub log: String,
    /// qemu's exit status.
    pub status: i32,
}

impl Boot {
    /// What the script said under this word.
    pub fn said(&self, word: &str) -> Result<&str> {
        self.log
            .lines()
            .find_map(|line| {
                line.trim_end().split_once(MARK)?.1.trim_start().strip_prefix(word)?.strip_prefix('=')
            })
            .with_context(|| format!("no `{MARK} {word}=…` on the serial line; its end:\n{}", self.tail()))
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// Boots the image with `script` (for busybox's sh) as the job that its engine is started for.
pub fn boot(script: &str) -> Result<Boot> {
    boot_without(&[], script)
}

/// The same with a kernel that lacks the modules whose names begin so.
pub fn boot_without(modules: &[&str], script: &str) -> Result<Boot> {
    let scratch = build::scratch("vm")?;
    let initramfs = initramfs(&scratch, "", modules, |root| {
        add_program(root, product::from_scratch()?, "itest/from-scratch")?;
        fs::write(root.join("itest/box.tar"), image::busybox_rootfs()?)?;
        add_script(&root.join("itest/script"), script)
    })?;
    let log = scratch.join("serial.log");
    // What follows the two dashes the kernel hands to its init, further dashes included.
    let mut qemu = machine(&initramfs, &log, "-- run -- /itest/script")?;
    let ended = command::run_within(qemu.args(["-nic", "none"]), b"", DEADLINE);
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
    let status = ended.with_context(|| format!("the end of the serial line:\n{tail}"))?.status;
    fs::remove_file(initramfs)?;
    Ok(Boot { log, status })
}

/// qemu for an emulated machine that powers off when its init ends. The caller decides on its network.
pub(crate) fn machine(initramfs: &Path, log: &Path, append: &str) -> Result<Command> {
    let (kernel, version) = product::kernel()?;
    let qemu = need::program("qemu-system-x86_64").context("no qemu-system-x86_64")?;
    let mut qemu = Command::new(qemu);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", "2", "-m", MEMORY])
        // Memory that another process may share, as a file system of the host's must.
        .args(["-object", &format!("memory-backend-memfd,id=memory,share=on,size={MEMORY}")])
        .args(["-machine", "q35,memory-backend=memory"])
        .arg("-kernel")
        .arg(kernel.join(format!("boot/vmlinuz-{version}")))
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!("console=ttyS0 panic=-1 loglevel=4 {append}"))
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .stdin(Stdio::null());
    Ok(qemu)
}

/// Our image's initramfs, and behind it the kernel's modules, a busybox, and what else is put into the directory: what the image
/// itself does not bring.
pub(crate) fn initramfs(
    scratch: &Path,
    components: &str,
    without: &[&str],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let purpose = scratch.file_name().and_then(|name| name.to_str()).context("a scratch directory")?;
    // The kernel unpacks archives one after the other, each compressed as it likes.
    let mut bytes = fs::read(build::output_with(purpose, "initramfs", "image.cpio", components)?)?;
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(fs::read(extra_archive(scratch, without, fill)?)?);
    let initramfs = scratch.join("initramfs");
    fs::write(&initramfs, bytes)?;
    Ok(initramfs)
}

fn extra_archive(
    scratch: &Path,
    without: &[&str],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let (kernel, version) = product::kernel()?;
    let root = scratch.join("extra");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let modules = format!("lib/modules/{version}");
    fs::create_dir_all(root.join(&modules))?;
    fs::create_dir_all(root.join("itest"))?;
    copy(&kernel.join(&modules), &root.join("lib/modules"))?;
    // Half of it is drivers for hardware that no emulated machine has.
    for unused in ["gpu", "infiniband", "net/ethernet", "net/wireless", "scsi", "hv", "nvme"] {
        let directory = root.join(&modules).join("kernel/drivers").join(unused);
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
    }
    for prefix in without {
        let mut find = Command::new("find");
        find.arg(root.join(&modules)).args(["-name", &format!("{prefix}*.ko*"), "-print", "-delete"]);
        let removed = command::run(&mut find, b"")?.success()?;
        ensure!(!removed.is_empty(), "the kernel has no modules `{prefix}*` to leave out");
    }
    fs::copy(product::busybox(), root.join("itest/busybox"))?;
    fill(&root)?;

    let archive = scratch.join("extra.cpio");
    let mut pack = Command::new("sh");
    pack.args(["-c", "cd \"$0\" && find . -print0 | cpio --null --create --format=newc --quiet > \"$1\""]);
    command::run(pack.arg(&root).arg(&archive), b"")?.success()?;
    fs::remove_dir_all(&root)?;
    ensure!(archive.metadata()?.len() > 1_000_000, "`{}` is too small to be true", archive.display());
    Ok(archive)
}

/// A script for the machine's busybox.
pub(crate) fn add_script(path: &Path, script: &str) -> Result<()> {
    fs::write(path, format!("#!/itest/busybox sh\n{script}"))?;
    Ok(fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?)
}

/// A program of this machine, and the loader and libraries that it was linked with.
pub(crate) fn add_program(root: &Path, program: &Path, place: &str) -> Result<()> {
    let place = root.join(place);
    fs::create_dir_all(place.parent().context("a program in no directory")?)?;
    fs::copy(program, place)?;
    let listed = command::run(Command::new("ldd").arg(program), b"")?.success()?;
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries.map(Path::new) {
        let place = root.join(library.strip_prefix("/")?);
        fs::create_dir_all(place.parent().context("a library in no directory")?)?;
        fs::copy(library, place)?;
    }
    Ok(())
}

fn copy(from: &Path, into: &Path) -> Result<()> {
    command::run(Command::new("cp").arg("--archive").arg(from).arg(into), b"")?.success().map(drop)
}

/// An ext4 that was unmounted has no journal to be replayed (kernel Documentation/filesystems/ext4/super.rst).
pub(crate) fn is_clean(disk: &Path) -> Result<()> {
    const SUPERBLOCK: u64 = 1024;
    // `s_state` with EXT4_VALID_FS, `s_feature_incompat` with EXT4_FEATURE_INCOMPAT_RECOVER; little-endian.
    const STATE: (usize, u8) = (0x3a, 1);
    const INCOMPAT: (usize, u8) = (0x60, 4);
    let mut block = [0; 128];
    File::open(disk)?.read_exact_at(&mut block, SUPERBLOCK)?;
    let (is_valid, is_open) = (block[STATE.0] & STATE.1 != 0, block[INCOMPAT.0] & INCOMPAT.1 != 0);
    ensure!(is_valid && !is_open, "the data root's file system was not unmounted: {block:x?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_between_the_kernels_lines() {
        let log = "[    1.0] kernel says\nitest: status=137\r\n[  2.0] itest: driver=overlay2\n".to_owned();
        let boot = Boot { log, status: 0 };
        assert_eq!(boot.said("status").expect("said"), "137");
        assert_eq!(boot.said("driver").expect("said"), "overlay2");
        assert!(boot.said("stat").is_err());
    }
}
