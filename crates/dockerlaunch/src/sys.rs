//! The few system calls that neither `rustix` nor `nix` offers safely. The only file with `unsafe`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::SigSet;
use rustix::process::RawPid;

/// First descriptor of handed-over sockets (sd_listen_fds(3), `SD_LISTEN_FDS_START`).
pub(crate) const FIRST_SOCKET: RawFd = 3;

/// Takes over `count` descriptors from [`FIRST_SOCKET`] on, which our starter opened for us.
pub(crate) fn take_inherited(count: usize) -> Vec<OwnedFd> {
    let last = i32::try_from(count).map_or(FIRST_SOCKET, |n| FIRST_SOCKET.saturating_add(n));
    (FIRST_SOCKET..last)
        .take_while(|&fd| {
            // SAFETY: F_GETFD only asks whether the number is an open descriptor.
            unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
        })
        .map(|fd| {
            // SAFETY: the descriptor is open, and LISTEN_FDS says that it is ours; nothing else in this process
            // has opened descriptors yet when this is called, first thing in main.
            unsafe { OwnedFd::from_raw_fd(fd) }
        })
        .collect()
}

/// Borrows a descriptor whose number came as an argument from our own parent.
pub(crate) fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: used between fork and exec only, for descriptors that the parent keeps open across them.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Puts the descriptors at [`FIRST_SOCKET`] and after, inheritable, and closes all others above.
pub(crate) fn place(fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    // First out of the way, so that no target number is overwritten before it has been copied.
    let above = libc::c_int::try_from(fds.len()).unwrap_or(0) + FIRST_SOCKET;
    let mut copies = Vec::with_capacity(fds.len());
    for fd in fds {
        // SAFETY: plain duplication of a descriptor that is borrowed, so open.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
        copies.push(if copy < 0 { return Err(io::Error::last_os_error()) } else { copy });
    }
    for (target, copy) in (FIRST_SOCKET..).zip(&copies) {
        // SAFETY: `copy` is ours; `target` is below every copy, and whatever it was is not used again before exec.
        if unsafe { libc::dup2(*copy, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    close_from(above);
    Ok(())
}

/// Closes every descriptor from this number on (close_range(2)); on kernels before 5.9 one by one.
fn close_from(first: RawFd) {
    let from = libc::c_uint::try_from(first).unwrap_or(0);
    // SAFETY: called just before exec; nothing uses the closed descriptors afterwards.
    if unsafe { libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    for fd in open_from(first) {
        // SAFETY: as above; the number may be that of the directory just read, which is closed already.
        unsafe { libc::close(fd) };
    }
}

/// Open descriptors from this number on, as `/proc` lists them.
fn open_from(first: RawFd) -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_string_lossy().parse().ok()).filter(|fd| *fd >= first).collect()
}

/// Marks descriptors from this number on close-on-exec (close_range(2), `CLOSE_RANGE_CLOEXEC`); those that leaked
/// into us must not leak into the engine.
pub(crate) fn close_on_exec_from(first: RawFd) {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
    let from = libc::c_uint::try_from(first).unwrap_or(0);
    // SAFETY: changes descriptor flags only.
    if unsafe { libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) } == 0 {
        return;
    }
    // Kernels before 5.11. What is missed here, the hand-over closes.
    for fd in open_from(first) {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Ignores a signal no longer: an exec passes that on, to us and from us.
pub(crate) fn default_action(signal: i32) {
    // SAFETY: the default action is no handler of ours, and it replaces none.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// A set of signals by number; those of real time have no name in `nix`.
pub(crate) fn signal_set(numbers: impl IntoIterator<Item = i32>) -> SigSet {
    let mut set = *SigSet::empty().as_ref();
    for number in numbers {
        // SAFETY: the set has been initialised; a number that is no signal is refused.
        unsafe { libc::sigaddset(&mut set, number) };
    }
    // SAFETY: an initialised set, with signals of this system.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// Whether a blocked signal has come and nobody has taken it (sigpending(2)).
pub(crate) fn is_pending(signal: i32) -> bool {
    let mut set = *SigSet::empty().as_ref();
    // SAFETY: the set has been initialised, and the call fills it.
    unsafe { libc::sigpending(&mut set) == 0 && libc::sigismember(&set, signal) == 1 }
}

/// Asks the legacy packet filter for a table (`IPT_SO_GET_INFO`, linux/netfilter_ipv4/ip_tables.h, and its twin for IPv6);
/// the kernel loads and makes it for that.
pub(crate) fn find_table(socket: BorrowedFd<'_>, level: libc::c_int, name: &str) -> io::Result<()> {
    const IPT_SO_GET_INFO: libc::c_int = 64;
    // struct ipt_getinfo: a name of 32 bytes, 13 numbers.
    const SIZE: libc::socklen_t = 32 + 13 * 4;
    let mut info = [0u8; SIZE as usize];
    info.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    let mut size = SIZE;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which has as many.
    match unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, IPT_SO_GET_INFO, info.as_mut_ptr().cast(), &mut size)
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a process a signal by its number.
pub(crate) fn kill(pid: RawPid, signal: i32) -> io::Result<()> {
    // SAFETY: touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Our standard error, for a child.
pub(crate) fn stderr() -> io::Result<Stdio> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// Starts a program with no signal blocked, and tells why it could not be executed.
pub(crate) fn spawn_unblocked(command: &mut Command) -> io::Result<Child> {
    // SAFETY: between fork and exec this makes one system call, which takes no lock and allocates nothing.
    unsafe { command.pre_exec(crate::signals::unblock_all) }.spawn()
}

/// Whether the question for a keyring (keyctl(2), `KEYCTL_GET_KEYRING_ID`) is refused. The kernel itself gives a number, or
/// says that there is none.
pub(crate) fn refuses_keyctl() -> bool {
    const GET_KEYRING_ID: libc::c_int = 0;
    const SESSION_KEYRING: libc::c_int = -3;
    // SAFETY: touches no memory of ours, and with 0 nothing is created.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0) };
    answer < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The number of a free loop device (`LOOP_CTL_GET_FREE`, loop(4)).
pub(crate) fn free_loop(control: BorrowedFd<'_>) -> io::Result<u32> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
    // SAFETY: takes no argument, and gives a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// `struct loop_config` (linux/loop.h), the fields that we leave 0 under collective names.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info_begin: [u64; 5],
    info_numbers: [u32; 3],
    info_flags: u32,
    info_end: [u64; 22],
    reserved: [u64; 8],
}

/// Puts a file on a loop device, which is free again when nobody has it open or mounted (`LOOP_CONFIGURE`).
pub(crate) fn configure_loop(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
    const LO_FLAGS_AUTOCLEAR: u32 = 4;
    let config = LoopConfig {
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: 0,
        info_begin: [0; 5],
        info_numbers: [0; 3],
        info_flags: LO_FLAGS_AUTOCLEAR,
        info_end: [0; 22],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a struct of this layout, and nothing after the call.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs this in a child that ends with it, or is ended when it takes longer than ten seconds. What it gives is lost.
pub(crate) fn in_child(mut act: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: we have no other thread that may hold a lock now (threads of probes have ended), so the child may allocate.
    unsafe {
        command.pre_exec(move || {
            libc::alarm(10);
            let _ = act();
            // Never to be executed.
            Err(io::Error::from_raw_os_error(libc::ECANCELED))
        });
    }
    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(()),
        Err(error) => Err(error),
        // It has been ended before it said so.
        Ok(mut child) => child.wait().map(|_| ()),
    }
}

/// Whether the kernel decides over devices by programs in cgroups (bpf(2), `BPF_PROG_QUERY`).
pub(crate) fn query_device_filters(cgroup: &str) -> io::Result<()> {
    const BPF_PROG_QUERY: libc::c_int = 16;
    const BPF_CGROUP_DEVICE: u32 = 6;
    let directory = std::fs::File::open(cgroup)?;
    // union bpf_attr, `query`: target_fd, attach_type, and no room for an answer.
    let attributes: [u32; 8] = [directory.as_raw_fd().cast_unsigned(), BPF_CGROUP_DEVICE, 0, 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads and writes no more than the size that it is told.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, attributes.as_ptr(), size_of_val(&attributes))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives us a new session keyring, as runc does for each container (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
pub fn join_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: without a name no memory is read.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The child is killed when the thread that starts it ends (PR_SET_PDEATHSIG); an exec does not change that.
pub(crate) fn end_with_us(command: &mut Command) {
    let ask = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: one system call, and nothing is allocated.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Whether there are sockets of this kind.
pub(crate) fn has_socket(domain: i32, kind: i32, protocol: i32) -> io::Result<()> {
    // SAFETY: touches no memory of ours.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// Loads a kernel module from an open file (finit_module(2)); the kernel decompresses where it can.
pub(crate) fn finit_module(file: BorrowedFd<'_>, parameters: &CStr, compressed: bool) -> io::Result<()> {
    const MODULE_INIT_COMPRESSED_FILE: libc::c_int = 4;
    let flags = if compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 };
    // SAFETY: the descriptor is open and the parameters are a valid C string.
    match unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Loads a kernel module from memory (init_module(2)).
pub(crate) fn init_module(module: &[u8], parameters: &CStr) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has, and the parameters are a valid C string.
    match unsafe { libc::syscall(libc::SYS_init_module, module.as_ptr(), module.len(), parameters.as_ptr()) }
    {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
