//! A virtual machine whose kernel starts our launcher as its init: software emulation, the serial line as the only witness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{build, command, image, need, product};

pub mod firewall;

/// Emulated, a boot with a few containers takes about four minutes on two cores.
const DEADLINE: Duration = Duration::from_secs(1200);

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
    let (kernel, version) = product::kernel()?;
    let initramfs = scratch.join("initramfs");
    let image = build::output("vm", "initramfs", "image.cpio")?;
    // The kernel unpacks archives one after the other, each compressed as it likes.
    let mut bytes = fs::read(image)?;
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(fs::read(extra_archive(&scratch, &kernel, &version, modules, script)?)?);
    fs::write(&initramfs, bytes)?;

    let log = scratch.join("serial.log");
    let qemu = need::program("qemu-system-x86_64").context("no qemu-system-x86_64")?;
    let mut qemu = Command::new(qemu);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"])
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max,la57=off",
            "-smp",
            "2",
            "-m",
            "3072",
        ])
        .arg("-kernel")
        .arg(kernel.join(format!("boot/vmlinuz-{version}")))
        .arg("-initrd")
        .arg(&initramfs)
        .arg("-append")
        // What follows the two dashes the kernel hands to its init, further dashes included.
        .arg("console=ttyS0 panic=-1 loglevel=4 -- run -- /itest/script")
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .stdin(Stdio::null());
    let ended = command::run_within(&mut qemu, b"", DEADLINE);
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
    let status = ended.with_context(|| format!("the end of the serial line:\n{tail}"))?.status;
    fs::remove_file(initramfs)?;
    Ok(Boot { log, status })
}

/// The kernel's modules, a busybox, the base image and the script: what the image itself does not bring.
fn extra_archive(
    scratch: &Path,
    kernel: &Path,
    version: &str,
    without: &[&str],
    script: &str,
) -> Result<PathBuf> {
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
    add_host_command(&root)?;
    fs::write(root.join("itest/box.tar"), image::busybox_rootfs()?)?;
    let path = root.join("itest/script");
    fs::write(&path, format!("#!/itest/busybox sh\n{script}"))?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;

    let archive = scratch.join("extra.cpio");
    let mut pack = Command::new("sh");
    pack.args(["-c", "cd \"$0\" && find . -print0 | cpio --null --create --format=newc --quiet > \"$1\""]);
    command::run(pack.arg(&root).arg(&archive), b"")?.success()?;
    fs::remove_dir_all(&root)?;
    ensure!(archive.metadata()?.len() > 1_000_000, "`{}` is too small to be true", archive.display());
    Ok(archive)
}

/// `from-scratch` itself, and the loader and libraries of this machine that it was linked with.
fn add_host_command(root: &Path) -> Result<()> {
    let program = product::from_scratch()?;
    fs::copy(program, root.join("itest/from-scratch"))?;
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
