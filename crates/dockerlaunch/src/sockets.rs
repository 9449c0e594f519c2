//! The engine's socket, bound before the engine exists, and the socket on which it says that it is ready.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use dockerlaunch_plan::Problem;
use rustix::fs::Mode;

/// The group whose members may use the socket, unless the user names another.
const DEFAULT_GROUP: &str = "docker";

/// Binds and listens: a client that connects from now on waits for the engine instead of failing.
///
/// # Errors
/// The path cannot be bound, with a remedy.
///
/// `group` is the one that the user named; without one it is `docker`, where there is such a group.
pub fn bind(path: &str, group: Option<&str>) -> Result<OwnedFd, Problem> {
    let gid = match (group, gid(group.unwrap_or(DEFAULT_GROUP))) {
        // As with dockerd, nobody's but our own.
        (Some(""), _) => None,
        (Some(group), None) => {
            return Err(Problem::new(format!("there is no group `{group}` for the socket"))
                .cause("/etc/group does not list it")
                .remedy("give its number", "--group 2375"));
        }
        (_, gid) => gid,
    };
    try_bind(path, gid).map_err(|error| {
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

fn try_bind(path: &str, gid: Option<u32>) -> io::Result<OwnedFd> {
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
    // Without the group it is root's alone, as with dockerd.
    if let Some(gid) = gid {
        chown(path, None, Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener.into())
}

/// Whether a listening socket that was handed to us is the one at this path.
pub(crate) fn listens_on(socket: &OwnedFd, path: &str) -> bool {
    let Ok(copy) = socket.try_clone() else { return false };
    let address = UnixListener::from(copy).local_addr();
    // Names in one directory, however that is reached: /var/run is a link.
    let place = |path: &Path| Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()));
    let theirs = address.ok().and_then(|a| place(a.as_pathname()?));
    theirs.is_some() && theirs == place(Path::new(path))
}

/// Where [`publish`] writes, for [`published`].
const PUBLISHED: &str = "/run/dockerlaunch/sockets";

/// Leaves word of the engine's sockets for `healthcheck` and `ready`, which run as processes of their own.
pub(crate) fn publish(sockets: &[String]) {
    // Where /run cannot be written, they ask the default socket.
    let _ = std::fs::create_dir_all("/run/dockerlaunch");
    let _ = std::fs::write(PUBLISHED, sockets.join("\n"));
}

/// The engine's first socket, as its launcher left word of it.
pub fn published() -> Option<String> {
    let text = std::fs::read_to_string(PUBLISHED).ok()?;
    text.lines().next().map(str::to_owned)
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
    /// Binds it.
    ///
    /// # Errors
    /// `/run` cannot be written.
    pub fn bind() -> io::Result<Self> {
        let path = "/run/dockerlaunch/notify".to_owned();
        std::fs::create_dir_all("/run/dockerlaunch")?;
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// For `NOTIFY_SOCKET`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// To poll.
    pub(crate) fn socket(&self) -> &UnixDatagram {
        &self.socket
    }

    /// Whether one of the messages that have come says `READY=1`.
    pub(crate) fn says_ready(&self) -> bool {
        let mut buffer = [0; 4096];
        let mut ready = false;
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            ready |= text.lines().any(|line| line == "READY=1");
        }
        ready
    }
}

/// Asks the engine's `/_ping` once.
///
/// # Errors
/// It cannot be reached, or answers anything but 200.
pub fn ping(path: &str, timeout: Duration) -> io::Result<()> {
    match get(path, "/_ping", timeout)? {
        (200, _) => Ok(()),
        (status, _) => Err(io::Error::other(format!("the engine answers with status {status}"))),
    }
}

/// More than the list of all containers that one machine runs.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// Asks the engine, and gives the status and the body of its answer.
pub(crate) fn get(socket: &str, url: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    // In this old version an answer ends with the connection, and comes in one piece.
    stream.write_all(format!("GET {url} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    parse_answer(&answer).ok_or_else(|| io::Error::other("the engine's answer is no HTTP"))
}

fn parse_answer(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.get(end + 4..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("sub/d.sock").to_string_lossy().into_owned();
        let first = bind(&path, Some("0")).expect("bind");
        assert!(bind(&path, Some("0")).expect_err("served").what.contains("cannot listen"));
        drop(first);
        let _second = bind(&path, Some("0")).expect("stale one is replaced");
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o660);
    }

    #[test]
    fn a_group_that_does_not_exist_is_named() {
        let problem = bind("/nonexistent/x", Some("no-such-group")).expect_err("no such group");
        assert!(problem.what.contains("no-such-group") && !problem.hints.is_empty());
        let dir = tempfile::tempdir().expect("dir");
        bind(&dir.path().join("d.sock").to_string_lossy(), Some("")).expect("no group is asked for");
    }

    #[test]
    fn an_inherited_socket_is_known_by_its_path() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("d.sock").to_string_lossy().into_owned();
        let socket = bind(&path, Some("0")).expect("bind");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).expect("link");
        assert!(listens_on(&socket, &path));
        assert!(listens_on(&socket, &dir.path().join("link/d.sock").to_string_lossy()));
        assert!(!listens_on(&socket, &dir.path().join("e.sock").to_string_lossy()));
    }

    #[test]
    fn answers_are_understood() {
        let answer = parse_answer(b"HTTP/1.0 200 OK\r\nServer: Docker\r\n\r\n[]\n");
        assert_eq!(answer, Some((200, b"[]\n".to_vec())));
        for nonsense in [&b""[..], b"HTTP/1.0 200 OK", b"SSH-2.0\r\n\r\n", b"HTTP/1.0 x\r\n\r\n"] {
            assert_eq!(parse_answer(nonsense), None);
        }
    }

    #[test]
    fn too_long_a_path_is_refused_with_a_remedy() {
        let problem = bind(&format!("/tmp/{}/x", "y".repeat(120)), Some("0")).expect_err("too long");
        let _ = std::fs::remove_dir(format!("/tmp/{}", "y".repeat(120)));
        assert!(problem.hints[0].text.contains("107"), "{problem}");
    }
}
