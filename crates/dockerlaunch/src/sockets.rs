//! The engine's socket, bound before the engine exists, and the socket on which it says that it is ready.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use dockerlaunch_plan::Problem;
use rustix::fs::Mode;

/// Binds and listens: a client that connects from now on waits for the engine instead of failing.
///
/// # Errors
/// The path cannot be bound, with a remedy.
pub fn bind(path: &str, group: &str) -> Result<OwnedFd, Problem> {
    try_bind(path, group).map_err(|error| {
        let problem = Problem::new(format!("cannot listen on `{path}`")).cause(error.to_string());
        match error.kind() {
            io::ErrorKind::AddrInUse => problem.hint(
                "another daemon serves this socket: stop it, or name another with DOCKER_HOST=unix://…",
            ),
            io::ErrorKind::InvalidInput => {
                problem.hint("a socket's path has at most 107 bytes: choose a shorter one")
            }
            _ => problem.remedy("name another socket", "DOCKER_HOST=unix:///run/docker.sock"),
        }
    })
}

fn try_bind(path: &str, group: &str) -> io::Result<OwnedFd> {
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::fs::symlink_metadata(path).is_ok() {
        // Somebody answers: it is not ours to take away. Nobody does: a predecessor left it.
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    // Never open to others, not even for the moment between bind and chmod.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    // A missing group leaves it to root alone, as dockerd does.
    if let Some(gid) = gid(group) {
        chown(path, None, Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener.into())
}

/// A group's number: itself, or as `/etc/group` says (group(5)).
fn gid(group: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let text = std::fs::read_to_string("/etc/group").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(group))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Where the engine reports (sd_notify(3)).
#[derive(Debug)]
pub struct Readiness {
    socket: UnixDatagram,
    path: String,
}

impl Readiness {
    /// Binds it; `None` where that cannot be: then nobody waits for readiness.
    pub fn bind() -> Option<Self> {
        let path = "/run/dockerlaunch/notify".to_owned();
        std::fs::create_dir_all("/run/dockerlaunch").ok()?;
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, path })
    }

    /// For `NOTIFY_SOCKET`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// To poll and read.
    pub fn socket(&self) -> &UnixDatagram {
        &self.socket
    }
}

/// Whether a message says `READY=1`.
pub(crate) fn says_ready(socket: &UnixDatagram) -> bool {
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        if text.lines().any(|line| line == "READY=1") {
            return true;
        }
    }
    false
}

/// Asks the engine's `/_ping` once.
///
/// # Errors
/// It cannot be reached, or answers anything but 200.
pub fn ping(path: &str, timeout: Duration) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut head = [0; 16];
    stream.read_exact(&mut head[..12])?;
    let status = String::from_utf8_lossy(&head[9..12]).into_owned();
    if status == "200" {
        Ok(())
    } else {
        Err(io::Error::other(format!("the engine answers with status {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("sub/d.sock").to_string_lossy().into_owned();
        let first = bind(&path, "0").expect("bind");
        assert!(bind(&path, "0").expect_err("served").what.contains("cannot listen"));
        drop(first);
        let _second = bind(&path, "no-such-group").expect("stale one is replaced");
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o660);
    }

    #[test]
    fn too_long_a_path_is_refused_with_a_remedy() {
        let problem = bind(&format!("/tmp/{}/x", "y".repeat(120)), "0").expect_err("too long");
        let _ = std::fs::remove_dir(format!("/tmp/{}", "y".repeat(120)));
        assert!(problem.hints[0].text.contains("107"), "{problem}");
    }
}
