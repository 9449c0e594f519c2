//! Listening sockets, bound before the engine exists: a client that connects from now on waits for it instead of failing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use dockerlaunch_plan::facts::socket_table::{listening_at_path, listening_on_port};
use dockerlaunch_plan::{Action, ActionError};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// A listening socket, and where, as [`dockerlaunch_plan::Facts::listening`] has it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) socket: OwnedFd,
}

/// Binds what the action asks for, or `None` when it is about something else.
pub(crate) fn listen(action: &Action) -> Option<Result<Listener, ActionError>> {
    let (name, socket) = match action {
        Action::ListenTcp { address } => {
            let socket = tcp(*address).map_err(|error| failed(error, || holders_of_port(address.port())));
            (format!("tcp://{address}"), socket)
        }
        Action::ListenUnix { path, gid, mode } => {
            let socket = unix(path, *gid, *mode).map_err(|error| failed(error, || holders_of_path(path)));
            (format!("unix://{path}"), socket)
        }
        _ => return None,
    };
    Some(socket.map(|socket| Listener { name, socket }))
}

/// The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// As Go listens, and so dockerd: one socket on the IPv6 wildcard for both families stands for `0.0.0.0`, where the kernel
/// has IPv6 (Go, net/ipsock_posix.go, `favoriteAddrFamily`).
fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    if address.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        return tcp_on(address);
    }
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
    tcp_on(both).or_else(|error| match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPERM | libc::EACCES) => tcp_on(address),
        _ => Err(error),
    })
}

fn tcp_on(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn unix(path: &str, gid: Option<u32>, mode: u32) -> io::Result<OwnedFd> {
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::fs::symlink_metadata(path).is_ok() {
        // Somebody answers: it is not ours to take away. Nobody does: a predecessor left it.
        if is_served(path) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        std::fs::remove_file(path)?;
    }
    // Never open to others, not even for the moment between bind and chmod.
    let before = rustix::process::umask(Mode::from_raw_mode(0o777));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::from_raw_os_error(libc::ENAMETOOLONG),
        _ => error,
    })?;
    if let Some(gid) = gid {
        chown(path, None, Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener.into())
}

/// Whether somebody listens there; whose queue is full does too, and must not make us wait.
pub(crate) fn is_served(path: impl AsRef<Path>) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (Ok(socket), Ok(address)) = (socket, SocketAddrUnix::new(path.as_ref())) else { return false };
    matches!(rustix::net::connect(&socket, &address), Ok(()) | Err(rustix::io::Errno::AGAIN))
}

/// Whether a listening socket that was handed to us is the one of this name.
pub(crate) fn is(socket: &OwnedFd, name: &str) -> bool {
    let Ok(copy) = socket.try_clone() else { return false };
    if let Some(path) = name.strip_prefix("unix://") {
        // Names in one directory, however that is reached: /var/run is a link.
        let place = |path: &Path| Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()));
        let theirs = UnixListener::from(copy).local_addr().ok().and_then(|a| place(a.as_pathname()?));
        return theirs.is_some() && theirs == place(Path::new(path));
    }
    let theirs = TcpListener::from(copy).local_addr();
    let ours = name.strip_prefix("tcp://").and_then(|address| address.parse::<SocketAddr>().ok());
    match (theirs, ours) {
        // A wildcard of either family takes what the other one would.
        (Ok(theirs), Some(ours)) => {
            theirs == ours
                || theirs.port() == ours.port() && theirs.ip().is_unspecified() && ours.ip().is_unspecified()
        }
        _ => false,
    }
}

fn failed(error: io::Error, holders: impl FnOnce() -> Option<String>) -> ActionError {
    let errno = error.raw_os_error().unwrap_or(0);
    let mut reason = error.to_string();
    if errno == libc::EADDRINUSE {
        let holder = holders().unwrap_or_else(|| "a process that cannot be seen from here".to_owned());
        reason = format!("{reason}: {holder} listens there");
    }
    ActionError { call: "bind".to_owned(), reason, errno }
}

fn holders_of_port(port: u16) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    holders(&tables.iter().flat_map(|table| listening_on_port(table, port)).collect::<Vec<_>>())
}

fn holders_of_path(path: &str) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let real = Path::new(path).canonicalize().unwrap_or_default();
    let names = [path.to_owned(), real.to_string_lossy().into_owned()];
    holders(&names.iter().flat_map(|name| listening_at_path(&table, name)).collect::<Vec<_>>())
}

/// `nginx (pid 7)`: the first process that has one of these sockets open.
fn holders(inodes: &[u64]) -> Option<String> {
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if links.is_empty() {
        return None;
    }
    let is_one = |fd: &std::fs::DirEntry| {
        std::fs::read_link(fd.path()).is_ok_and(|link| links.iter().any(|l| link.as_os_str() == l.as_str()))
    };
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        std::fs::read_dir(process.path().join("fd")).ok()?.flatten().find(is_one)?;
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("{} (pid {pid})", name.trim_end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: &str, mode: u32) -> Result<Listener, ActionError> {
        let gid = Some(rustix::process::getegid().as_raw());
        listen(&Action::ListenUnix { path: path.to_owned(), gid, mode }).expect("one of ours")
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("sub/d.sock").to_string_lossy().into_owned();
        let first = socket(&path, 0o660).expect("bind");
        assert_eq!(first.name, format!("unix://{path}"));
        let error = socket(&path, 0o660).expect_err("served");
        assert_eq!(error.errno, libc::EADDRINUSE);
        let me = format!("(pid {}) listens there", std::process::id());
        assert!(error.reason.ends_with(&me), "{error}");
        drop(first);
        let _second = socket(&path, 0o604).expect("the stale one is replaced");
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o604);
    }

    #[test]
    fn whose_queue_is_full_serves_too() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("d.sock");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("socket");
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("address")).expect("bind");
        rustix::net::listen(&socket, 0).expect("listen");
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let flags = SocketFlags::NONBLOCK;
                let client = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
                let client = client.expect("socket");
                let _ = rustix::net::connect(&client, &SocketAddrUnix::new(&path).expect("address"));
                client
            })
            .collect();
        assert!(is_served(&path));
        drop((socket, waiting));
        assert!(!is_served(&path));
    }

    #[test]
    fn too_long_a_path_is_told_apart() {
        let error = socket(&format!("/tmp/{}", "y".repeat(120)), 0o600).expect_err("too long");
        assert_eq!(error.errno, libc::ENAMETOOLONG);
    }

    #[test]
    fn who_has_the_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("address");
        let error = listen(&Action::ListenTcp { address }).expect("one of ours").expect_err("taken");
        assert_eq!(error.errno, libc::EADDRINUSE);
        let me = format!("(pid {}) listens there", std::process::id());
        assert!(error.reason.ends_with(&me), "{error}");
        drop(taken);
        let bound = listen(&Action::ListenTcp { address }).expect("one of ours").expect("free");
        std::net::TcpStream::connect(address).expect("it listens");
        assert!(is(&bound.socket, &bound.name));
    }

    #[test]
    fn an_inherited_socket_is_known_by_its_address() {
        let dir = tempfile::tempdir().expect("dir");
        let path = |name: &str| format!("unix://{}", dir.path().join(name).display());
        let unix = socket(path("d.sock").trim_start_matches("unix://"), 0o600).expect("bind").socket;
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).expect("link");
        assert!(is(&unix, &path("d.sock")) && is(&unix, &path("link/d.sock")));
        assert!(!is(&unix, &path("e.sock")) && !is(&unix, "tcp://127.0.0.1:1"));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = tcp.local_addr().expect("address");
        let tcp = tcp.into();
        assert!(is(&tcp, &format!("tcp://{address}")));
        assert!(!is(&tcp, &format!("tcp://0.0.0.0:{}", address.port())) && !is(&tcp, &path("d.sock")));
    }
}
