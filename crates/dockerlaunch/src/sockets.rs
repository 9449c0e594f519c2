//! Sockets by which one asks the engine, and the one on which it says that it is ready.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use crate::say::say;

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

/// Tells whoever has started us (sd_notify(3)), as the engine would tell it if we were not between them.
pub(crate) fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let told = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address?)
    });
    if let Err(error) = told {
        say!(Warn, "cannot tell `{}` {}: {error}", name.display(), state.trim_end());
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
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Asks the engine, and gives the status and the body of its answer, all of it within this time.
pub(crate) fn get(socket: &str, url: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    let deadline = Instant::now() + timeout;
    stream.set_write_timeout(Some(timeout))?;
    // In this old version an answer ends with the connection, and comes in one piece.
    stream.write_all(format!("GET {url} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    while answer.len() < LONGEST_ANSWER {
        // A limit on each read alone would let an engine drip for ever.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    parse_answer(&answer).ok_or_else(|| io::Error::other("the engine's answer is no HTTP"))
}

/// Has the engine load an archive of images (`POST /images/load`, Docker Engine API).
pub(crate) fn load(socket: &str, archive: &mut File) -> io::Result<()> {
    /// For one piece of the archive, or to unpack all of it.
    const PATIENCE: Duration = Duration::from_secs(1800);
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let size = archive.metadata()?.len();
    let head = "POST /images/load?quiet=1 HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\n";
    stream.write_all(format!("{head}Content-Length: {size}\r\n\r\n").as_bytes())?;
    // An engine that does not want all of it says why.
    let sent = io::copy(archive, &mut stream);
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER as u64).read_to_end(&mut answer)?;
    match parse_answer(&answer) {
        Some((200, body)) if !body.windows(13).any(|word| word == b"\"errorDetail\"") => sent.map(drop),
        Some((_, body)) => Err(io::Error::other(String::from_utf8_lossy(&body).trim().to_owned())),
        None => Err(io::Error::other("the engine's answer is no HTTP")),
    }
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
    fn an_engine_that_drips_does_not_hold_us() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        let engine = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("accept");
            // Until nobody reads any more.
            while client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let error = get(&path.to_string_lossy(), "/_ping", Duration::from_millis(200)).expect_err("no end");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        engine.join().expect("engine");
    }

    #[test]
    fn answers_are_understood() {
        let answer = parse_answer(b"HTTP/1.0 200 OK\r\nServer: Docker\r\n\r\n[]\n");
        assert_eq!(answer, Some((200, b"[]\n".to_vec())));
        for nonsense in [&b""[..], b"HTTP/1.0 200 OK", b"SSH-2.0\r\n\r\n", b"HTTP/1.0 x\r\n\r\n"] {
            assert_eq!(parse_answer(nonsense), None);
        }
    }
}
