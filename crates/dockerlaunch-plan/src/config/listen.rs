//! Where the engine listens, as `DOCKER_HOST` asks for it.

use std::collections::BTreeMap;

use super::DEFAULT_SOCKET;
use super::variables::HOST;
use crate::Problem;

/// The socket's path, and what in the variable makes no sense.
pub(super) fn read(env: &BTreeMap<String, String>) -> (String, Option<Problem>) {
    let host = env.get(HOST).map(|value| value.trim()).filter(|value| !value.is_empty());
    match host.map(socket).transpose() {
        Ok(path) => (path.flatten().unwrap_or(DEFAULT_SOCKET).to_owned(), None),
        Err(problem) => (DEFAULT_SOCKET.to_owned(), Some(problem)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str) -> (String, Option<Problem>) {
        read(&BTreeMap::from([(HOST.to_owned(), host.to_owned())]))
    }

    #[test]
    fn only_a_unix_docker_host_is_a_listener_pain_20() {
        for (host, wanted) in [
            ("", DEFAULT_SOCKET),
            ("unix://", DEFAULT_SOCKET),
            ("unix:///run/d.sock", "/run/d.sock"),
            ("unix://d.sock", "d.sock"),
            ("tcp://docker:2376", DEFAULT_SOCKET),
            ("ssh://me@there", DEFAULT_SOCKET),
            ("docker:2375", DEFAULT_SOCKET),
        ] {
            assert_eq!(of(host), (wanted.to_owned(), None), "{host}");
        }
    }

    #[test]
    fn nonsense_is_named_with_what_was_meant() {
        for (host, remedy) in [
            ("/run/d.sock", "DOCKER_HOST=unix:///run/d.sock"),
            ("unix:/run/d.sock", "DOCKER_HOST=unix:///run/d.sock"),
            ("unix://@d", "DOCKER_HOST=unix:///d"),
            ("unx:///run/d.sock", "DOCKER_HOST=unix:///run/d.sock"),
            ("unix:", "DOCKER_HOST=unix:///var/run/docker.sock"),
        ] {
            let problem = of(host).1.expect(host);
            assert!(problem.what.contains(host), "{problem}");
            assert_eq!(problem.hints[0].command.as_deref(), Some(remedy), "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(host in "(unix:|tcp:)?[/@a]{0,6}.{0,4}") {
            of(&host);
        }
    }
}
