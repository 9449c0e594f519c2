//! The end of a machine whose init we are.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use dockerlaunch_plan::facts::mountinfo;
use dockerlaunch_plan::supervise::mounts;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use crate::end::reap;
use crate::lines;
use crate::say::say;

/// How long processes have between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// How long file systems have.
const WRITTEN: Duration = Duration::from_secs(30);

/// Ends every process, writes everything to disk, and powers off, reboots or waits.
///
/// `on_failure` is `dockerlaunch.on-failure=` of the kernel command line: `poweroff` (default), `reboot` or `wait`;
/// it counts only where the status is not 0.
fn end(status: u8, on_failure: Option<&str>) -> ! {
    let everyone = Pid::from_raw(-1);
    let _ = kill(everyone, Signal::SIGTERM);
    if !children_gone(GRACE) {
        let _ = kill(everyone, Signal::SIGKILL);
        children_gone(GRACE);
    }
    // A server that has gone must not keep the machine from ending.
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        rustix::fs::sync();
        let_go();
        let _ = done.send(());
    });
    if is_done.recv_timeout(WRITTEN).is_err() {
        say!(Warn, "not all file systems are written and unmounted after {} s", WRITTEN.as_secs());
    }
    lines::tell_status(status);
    let command = match on_failure.filter(|_| status != 0) {
        Some("wait") => loop {
            std::thread::park();
        },
        Some("reboot") => RebootCommand::Restart,
        _ => RebootCommand::PowerOff,
    };
    if let Err(error) = reboot(command) {
        say!(Error, "reboot: {error}");
    }
    loop {
        std::thread::park();
    }
}

/// Unmounts file systems, the last one first; what is still in use becomes read-only. So no journal is left to be replayed.
fn let_go() {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for target in mounts::on_disk(&mountinfo::parse(&text)) {
        if unmount(target, UnmountFlags::NOFOLLOW).is_err()
            && let Err(error) = mount_remount(target, MountFlags::RDONLY, c"")
        {
            say!(Warn, "{target} can be neither unmounted nor made read-only: {error}");
        }
    }
}

fn children_gone(within: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < within {
        if !reap().others_live {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Tells the kernel log too: the console may be gone when somebody looks.
fn log(text: &str) {
    if let Ok(mut kmsg) = std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        for line in text.lines().filter(|l| !l.is_empty()) {
            let _ = std::io::Write::write_all(&mut kmsg, format!("<3>dockerlaunch: {line}\n").as_bytes());
        }
    }
}

/// Powers off after a launch as the kernel's init.
pub fn end_machine(status: u8, message: Option<&str>) -> ! {
    if let Some(message) = message {
        log(message);
    }
    end(status, lines::parameter("on-failure").as_deref())
}
