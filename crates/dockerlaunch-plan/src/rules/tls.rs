//! Certificates for TCP, in the layout that users of `docker:dind` share by volume:
//! `$DOCKER_TLS_CERTDIR/{ca,server,client}/{ca,cert,key}.pem`.
//!
//! With a CA key there, certificates are ours to make and to renew; keys are kept. A complete `server/` without one belongs to
//! the user and is only looked at.

use std::collections::BTreeSet;

use crate::facts::Facts;
use crate::facts::tls::date;
use crate::{Config, Verdict};

use super::listeners;

mod store;

use store::Store;

/// What every certificate is valid for: what `docker:dind` is called in CI, and the loopback, which may not be up yet.
const NAMES: &[&str] = &["DNS:docker", "DNS:localhost", "IP:127.0.0.1", "IP:::1"];

/// This program is younger: a clock that is behind makes certificates that have ended for everybody else.
const EARLIEST: u64 = 1_760_000_000;

/// What dockerd needs: the CA of its clients, its certificate and key.
pub(super) fn flags(directory: &str) -> [(&'static str, String); 3] {
    [("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key")]
        .map(|(flag, name)| (flag, format!("{directory}/server/{name}.pem")))
}

/// Makes what is missing or no good.
pub fn make(config: &Config, facts: &Facts) -> Verdict {
    let directory = match directory(config, facts) {
        Ok(directory) => directory,
        Err(skipped) => return skipped,
    };
    if let Some(problem) = &config.tls.mistakes {
        return Verdict::Blocked { problem: problem.clone() };
    }
    let store = Store { directory: &directory, tls: &facts.tls };
    if store.is_of_user() {
        return match store.server_of_user() {
            Ok(evidence) => Verdict::satisfied(evidence),
            Err(problem) => Verdict::Blocked { problem },
        };
    }
    match store.half_of_user().or_else(|| store.problem()) {
        Some(problem) => Verdict::Blocked { problem },
        None => Verdict::needed_or(store.actions(&names(config, facts), false), store.evidence()),
    }
}

/// Renews what is still good but not for long, or lacks a name or address of today.
pub fn renew(config: &Config, facts: &Facts) -> Verdict {
    let directory = match directory(config, facts) {
        Ok(directory) => directory,
        Err(skipped) => return skipped,
    };
    let store = Store { directory: &directory, tls: &facts.tls };
    if store.is_of_user() {
        return Verdict::skipped("the certificate is the user's own");
    }
    if store.half_of_user().or_else(|| store.problem()).is_some() || config.tls.mistakes.is_some() {
        return Verdict::skipped("there is none to renew");
    }
    Verdict::needed_or(
        store.actions(&names(config, facts), true),
        "all names are in it, and it does not end soon",
    )
}

/// What to tell of certificates that are made.
pub fn warning(config: &Config, facts: &Facts) -> Option<String> {
    let now = facts.tls.now;
    (now < EARLIEST && directory(config, facts).is_ok()).then(|| {
        format!(
            "the clock says {}: to clients whose clock is right, certificates made now have ended",
            date(now)
        )
    })
}

/// Where certificates are kept, if they are of any use.
fn directory(config: &Config, facts: &Facts) -> Result<String, Verdict> {
    match listeners::decide(config, facts).unwrap_or_default().tls {
        listeners::Tls::Directory(directory) => Ok(directory),
        listeners::Tls::Given => Err(Verdict::skipped("options or daemon.json name the certificates")),
        listeners::Tls::Off => Err(Verdict::skipped("no TLS")),
    }
}

/// What the server's certificate must be valid for.
fn names(config: &Config, facts: &Facts) -> BTreeSet<String> {
    let fixed = NAMES.iter().map(|name| (*name).to_owned());
    let own = facts.tls.host_names.iter().map(|name| format!("DNS:{}", name.to_ascii_lowercase()));
    let addresses = facts.links.iter().flat_map(|link| &link.addresses);
    let addresses = addresses.map(|cidr| format!("IP:{}", cidr.address));
    fixed.chain(own).chain(addresses).chain(config.tls.names.iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
