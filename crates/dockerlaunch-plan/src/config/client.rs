//! What a client is told, as `docker-entrypoint.sh` of `docker:cli` tells it: where the engine is, and its certificates.

use std::collections::BTreeMap;

use super::tls::DEFAULT_DIRECTORY;
use super::variables::{CERT_PATH, CERTDIR, HOST, TLS_VERIFY};

/// The engine beside us when none is here: what `docker:dind` is called in CI.
const REMOTE: &str = "tcp://docker";

/// What must be there for a client to speak TLS, below the directory of certificates.
const FILES: [&str; 3] = ["client/ca.pem", "client/cert.pem", "client/key.pem"];

/// Variables to set. What the user has set is left as it is. `sockets` are those of an engine here, best first;
/// `has_content` tells whether a file is there and not empty.
pub fn environment(
    env: &BTreeMap<String, String>,
    sockets: &[String],
    has_content: impl Fn(&str) -> bool,
) -> Vec<(&'static str, String)> {
    let get = |name: &str| env.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut out = Vec::new();
    let directory = env.get(CERTDIR).map_or(DEFAULT_DIRECTORY, String::as_str).trim_end_matches('/');
    let has_certificates =
        || !directory.is_empty() && FILES.iter().all(|file| has_content(&format!("{directory}/{file}")));
    let host = match (get(HOST), sockets.first()) {
        (Some(host), _) => host.to_owned(),
        (None, Some(socket)) => {
            out.push((HOST, format!("unix://{socket}")));
            return out;
        }
        (None, None) => {
            let has_tls = get(TLS_VERIFY).is_some() || has_certificates();
            let host = format!("{REMOTE}:{}", if has_tls { "2376" } else { "2375" });
            out.push((HOST, host.clone()));
            host
        }
    };
    let says_how = get(TLS_VERIFY).is_some() || get(CERT_PATH).is_some();
    if host.starts_with("tcp:") && !says_how && has_certificates() {
        out.push((TLS_VERIFY, "1".to_owned()));
        out.push((CERT_PATH, format!("{directory}/client")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(env: &[(&str, &str)], sockets: &[&str], certificates: Option<&str>) -> String {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sockets: Vec<String> = sockets.iter().map(|socket| (*socket).to_owned()).collect();
        let has = |path: &str| certificates.is_some_and(|directory| path.starts_with(directory));
        let set = environment(&env, &sockets, has);
        set.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn clients_find_the_engine_as_with_docker_cli() {
        let tls = |directory: &str| format!("DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={directory}/client");
        for (env, sockets, certificates, wanted) in [
            (
                &[][..],
                &["/var/run/docker.sock"][..],
                None,
                "DOCKER_HOST=unix:///var/run/docker.sock".to_owned(),
            ),
            (
                &[],
                &["/var/run/docker.sock"],
                Some("/certs/"),
                "DOCKER_HOST=unix:///var/run/docker.sock".into(),
            ),
            (&[], &[], None, "DOCKER_HOST=tcp://docker:2375".into()),
            (&[], &[], Some("/certs/"), format!("DOCKER_HOST=tcp://docker:2376 {}", tls("/certs"))),
            (
                &[("DOCKER_TLS_CERTDIR", "/x/")],
                &[],
                Some("/x/"),
                format!("DOCKER_HOST=tcp://docker:2376 {}", tls("/x")),
            ),
            (&[("DOCKER_TLS_CERTDIR", "")], &[], Some("/"), "DOCKER_HOST=tcp://docker:2375".into()),
            (&[("DOCKER_TLS_VERIFY", "1")], &[], None, "DOCKER_HOST=tcp://docker:2376".into()),
            (&[("DOCKER_TLS_VERIFY", "1")], &[], Some("/certs/"), "DOCKER_HOST=tcp://docker:2376".into()),
            (&[("DOCKER_CERT_PATH", "/y")], &[], Some("/certs/"), "DOCKER_HOST=tcp://docker:2376".into()),
            (
                &[("DOCKER_HOST", "tcp://dind:2376")],
                &["/var/run/docker.sock"],
                Some("/certs/"),
                tls("/certs"),
            ),
            (&[("DOCKER_HOST", "tcp://dind:2375")], &[], None, String::new()),
            (&[("DOCKER_HOST", "ssh://me@there")], &[], Some("/certs/"), String::new()),
            (&[("DOCKER_HOST", "unix:///x.sock")], &["/var/run/docker.sock"], Some("/certs/"), String::new()),
            (&[("DOCKER_HOST", "")], &["/run/x.sock"], None, "DOCKER_HOST=unix:///run/x.sock".into()),
        ] {
            assert_eq!(shown(env, sockets, certificates), wanted, "{env:?} {sockets:?} {certificates:?}");
        }
    }

    #[test]
    fn half_a_set_of_certificates_is_none() {
        let has = |path: &str| !path.ends_with("key.pem");
        let set = environment(&BTreeMap::new(), &[], has);
        assert_eq!(set, [("DOCKER_HOST", "tcp://docker:2375".to_owned())]);
    }
}
