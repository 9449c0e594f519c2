//! The unix socket as the environment asks for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DEFAULT_SOCKET;
use super::variables::{HOST, SOCKET_GROUP, SOCKET_MODE};
use crate::Problem;

/// The mode that dockerd gives its socket.
const DEFAULT_MODE: u32 = 0o660;

/// The unix socket as the environment asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// [`SOCKET_GROUP`].
    pub group: Option<String>,
    /// [`SOCKET_MODE`].
    pub mode: u32,
    /// What in the variables makes no sense.
    pub mistakes: Vec<Problem>,
}

impl Listen {
    /// The socket's path, and the rest.
    pub fn read(env: &BTreeMap<String, String>) -> (String, Self) {
        let get = |name: &str| env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let mut listen =
            Self { group: get(SOCKET_GROUP).map(str::to_owned), mode: DEFAULT_MODE, mistakes: Vec::new() };
        let path = match get(HOST).map(socket) {
            None => DEFAULT_SOCKET.to_owned(),
            Some(Ok(path)) => path.unwrap_or(DEFAULT_SOCKET).to_owned(),
            Some(Err(problem)) => {
                listen.mistakes.push(problem);
                DEFAULT_SOCKET.to_owned()
            }
        };
        if let Some(text) = get(SOCKET_MODE) {
            match mode(text) {
                Some(mode) => listen.mode = mode,
                None => listen.mistakes.push(
                    Problem::new(format!("`{SOCKET_MODE}={text}` makes no sense"))
                        .cause("expected permission bits in octal, at most 0777")
                        .remedy("write, for example", format!("{SOCKET_MODE}=0660")),
                ),
            }
        }
        (path, listen)
    }
}

/// Schemes that name an engine elsewhere (docker/cli, `DOCKER_HOST`).
const ELSEWHERE: &[&str] = &["tcp", "ssh", "npipe", "http", "https", "fd"];

/// The path of a unix socket, or `None` for an engine elsewhere.
fn socket(host: &str) -> Result<Option<&str>, Problem> {
    let path = match host.split_once("://") {
        Some(("unix", "")) => return Ok(None),
        Some(("unix", path)) if !path.starts_with('@') => return Ok(Some(path)),
        Some(("unix", path)) => path,
        Some((scheme, _)) if ELSEWHERE.contains(&scheme) => return Ok(None),
        Some((_, rest)) => rest,
        // The client takes a bare host and port.
        None if !host.starts_with('/') && !host.starts_with("unix:") => return Ok(None),
        None => host.trim_start_matches("unix:"),
    };
    let path = path.trim_start_matches(['/', '@']);
    let meant = if path.is_empty() { DEFAULT_SOCKET.to_owned() } else { format!("/{path}") };
    Err(Problem::new(format!("`{HOST}={host}` makes no sense"))
        .cause("expected `unix://` and a path, or the address of an engine elsewhere")
        .remedy("write", format!("{HOST}=unix://{meant}")))
}

/// `660`, `0660`, `0o660`.
fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> (String, Listen) {
        Listen::read(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn only_a_unix_docker_host_is_a_listener() {
        for (host, wanted) in [
            ("", DEFAULT_SOCKET),
            ("unix://", DEFAULT_SOCKET),
            ("unix:///run/d.sock", "/run/d.sock"),
            ("unix://d.sock", "d.sock"),
            ("tcp://docker:2376", DEFAULT_SOCKET),
            ("ssh://me@there", DEFAULT_SOCKET),
            ("docker:2375", DEFAULT_SOCKET),
        ] {
            let (path, listen) = read(HOST, host);
            assert_eq!((path.as_str(), listen.mistakes.len()), (wanted, 0), "{host}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, wanted) in
            [("660", 0o660), ("0600", 0o600), ("0o777", 0o777), ("", 0o660), (" 666 ", 0o666)]
        {
            let (_, listen) = read(SOCKET_MODE, text);
            assert_eq!((listen.mode, listen.mistakes.len()), (wanted, 0), "{text}");
        }
    }

    #[test]
    fn nonsense_is_named_with_what_was_meant() {
        for (name, value, remedy) in [
            (HOST, "/run/d.sock", "DOCKER_HOST=unix:///run/d.sock"),
            (HOST, "unix:/run/d.sock", "DOCKER_HOST=unix:///run/d.sock"),
            (HOST, "unix://@d", "DOCKER_HOST=unix:///d"),
            (HOST, "unx:///run/d.sock", "DOCKER_HOST=unix:///run/d.sock"),
            (HOST, "unix:", "DOCKER_HOST=unix:///var/run/docker.sock"),
            (SOCKET_MODE, "rw-rw----", "DOCKERLAUNCH_SOCKET_MODE=0660"),
            (SOCKET_MODE, "0888", "DOCKERLAUNCH_SOCKET_MODE=0660"),
            (SOCKET_MODE, "+660", "DOCKERLAUNCH_SOCKET_MODE=0660"),
            (SOCKET_MODE, "1777", "DOCKERLAUNCH_SOCKET_MODE=0660"),
        ] {
            let mistakes = read(name, value).1.mistakes;
            let [problem] = &mistakes[..] else { panic!("{name}={value}: {mistakes:?}") };
            assert!(problem.what.contains(value), "{problem}");
            assert_eq!(problem.hints[0].command.as_deref(), Some(remedy), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(host in "(unix:|tcp:)?[/@a]{0,6}.{0,4}", mode in ".{0,6}") {
            read(HOST, &host);
            assert!(read(SOCKET_MODE, &mode).1.mode <= 0o777);
        }
    }
}
