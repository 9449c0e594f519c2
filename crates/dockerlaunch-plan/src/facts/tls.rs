//! Certificates and private keys, as far as the rules ask. Secrets never become facts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod certificate;
mod key;

pub use certificate::{Certificate, date, parse_certificates};
pub use key::{Key, Kind, PrivateKey, parse_key};

/// What TLS is made of here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Files of the TLS directory by their path, as far as they exist and are not empty.
    pub files: BTreeMap<String, File>,
    /// Permission bits of the clients' key.
    pub client_key_mode: Option<u32>,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Names of this machine: the kernel's, and those that `/etc/hosts` has for it.
    pub host_names: Vec<String>,
}

/// A file of the TLS directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum File {
    /// A private key.
    Key(Key),
    /// Certificates. A server or client shows the first one; the others stand between it and its CA.
    Certificates(Vec<Certificate>),
    /// It cannot be read, or is neither; why.
    Broken(String),
}

/// How long a certificate is valid, in seconds: the 825 days that `docker:dind` gives, the most that some clients accept.
pub const LIFETIME: u64 = 825 * 24 * 3600;

/// A certificate is valid from so many seconds ago, for clients whose clock is slow.
pub const BACKDATED: u64 = 3600;

/// The CA's certificate, below the TLS directory.
pub const AUTHORITY: &str = "ca/cert.pem";

/// Its key.
pub const AUTHORITY_KEY: &str = "ca/key.pem";

/// The key of clients, which all of them must be able to read.
pub const CLIENT_KEY: &str = "client/key.pem";

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The CA itself.
    Authority,
    /// The engine, under these names and addresses.
    Server {
        /// `DNS:docker`, `IP:127.0.0.1`.
        names: Vec<String>,
    },
    /// Its clients.
    Client,
}

impl Role {
    /// The common name of a certificate that we make.
    pub fn common_name(&self) -> &'static str {
        match self {
            Self::Authority => "docker:dind CA",
            Self::Server { .. } => "docker:dind server",
            Self::Client => "docker:dind client",
        }
    }

    /// What it must be valid for.
    pub fn names(&self) -> &[String] {
        if let Self::Server { names } = self { names } else { &[] }
    }
}

impl Tls {
    /// A key of ours is there.
    pub(crate) fn predict_key(&mut self, path: &str) {
        let key = Key { kind: Kind::P256, id: Some(format!("key made as {path}")) };
        self.files.insert(path.to_owned(), File::Key(key));
    }

    /// A certificate of ours is there; a CA keeps the name that it has.
    pub(crate) fn predict_certificate(&mut self, path: &str, key: &str, directory: &str, role: &Role) {
        let Some(File::Key(key)) = self.files.get(key) else { return };
        let key = key.id.clone().unwrap_or_default();
        let before = match self.files.get(path) {
            Some(File::Certificates(all)) => all.first().map_or("", |old| &old.fingerprint),
            _ => "",
        };
        let mut certificate = Certificate {
            subject: format!("CN={}", role.common_name()),
            identifier: Some(key.clone()),
            is_authority: *role == Role::Authority,
            not_before: self.now.saturating_sub(BACKDATED),
            not_after: self.now.saturating_sub(BACKDATED) + LIFETIME,
            names: role.names().to_vec(),
            fingerprint: format!("another than {before}"),
            key,
            ..Certificate::default()
        };
        let authority = match self.files.get(&format!("{directory}/{AUTHORITY}")) {
            Some(File::Certificates(all)) => all.first().cloned(),
            _ => None,
        };
        if *role == Role::Authority {
            if let Some(old) = authority.filter(|old| old.key == certificate.key) {
                certificate.subject = old.subject;
                certificate.identifier = old.identifier.or(certificate.identifier);
            }
            certificate.issuer = certificate.subject.clone();
            certificate.signer = certificate.identifier.clone();
        } else if let Some(authority) = authority {
            certificate.signer = Some(authority.key_name().to_owned());
            certificate.issuer = authority.subject;
        }
        self.files.insert(path.to_owned(), File::Certificates(vec![certificate]));
    }

    /// One file is what another one is.
    pub(crate) fn predict_copy(&mut self, from: &str, to: &str) {
        if let Some(file) = self.files.get(from).cloned() {
            self.files.insert(to.to_owned(), file);
        }
    }
}

/// Names of the machine that the kernel calls so, with those that `/etc/hosts` (hosts(5)) has for it: what `hostname -f` would
/// say is among them.
pub fn host_names(kernel: &str, hosts: &str) -> Vec<String> {
    let mut names = vec![kernel.to_owned()];
    names.extend(kernel.split_once('.').map(|(short, _)| short.to_owned()));
    for line in hosts.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().skip(1).collect();
        if words.contains(&kernel) {
            names.extend(words.into_iter().map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    names.retain(|name| is_dns_name(name));
    names
}

/// Whether this may stand in a certificate as a DNS name: labels of letters, digits, `-` and `_`; the first may be `*`.
pub fn is_dns_name(name: &str) -> bool {
    const LONGEST_NAME: usize = 253;
    const LONGEST_LABEL: usize = 63;
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LONGEST_LABEL
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let labels = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= LONGEST_NAME && labels.split('.').all(is_label)
}

/// What stands for a public key: the leftmost 160 bits of its hash (RFC 7093, method 1).
pub fn key_id(public_key: &[u8]) -> [u8; 20] {
    let hash: [u8; 32] = Sha256::digest(public_key).into();
    let mut id = [0; 20];
    id.copy_from_slice(&hash[..20]);
    id
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_tell_the_full_name() {
        let hosts = "127.0.0.1 localhost\n172.17.0.2\tdind.example.org dind # ours\n10.0.0.9 other\n::1 dind";
        assert_eq!(host_names("dind", hosts), ["dind", "dind.example.org"]);
        assert_eq!(host_names("a.example.org", ""), ["a", "a.example.org"]);
        assert_eq!(host_names("(none)", "1.1.1.1 (none) fine"), ["fine"]);
    }

    #[test]
    fn names_that_may_stand_in_a_certificate() {
        for name in ["docker", "a.b-c.d_e", "*.example.org", "1", &"a".repeat(63)] {
            assert!(is_dns_name(name), "{name}");
        }
        for name in
            ["", "a..b", ".a", "a.", "*", "a.*.b", "a b", "a:b", "ä", &"a".repeat(64), &"a.".repeat(130)]
        {
            assert!(!is_dns_name(name), "{name}");
        }
    }
}
