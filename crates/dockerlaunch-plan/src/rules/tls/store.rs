//! What is in the directory of certificates, and what is to be done about it.

use std::collections::BTreeSet;

use crate::config::variables::CERTDIR;
use crate::facts::tls::{
    AUTHORITY, AUTHORITY_KEY, CLIENT_KEY, Certificate, File, Key, Kind, LIFETIME, Role, date,
};
use crate::facts::{Facts, Tls};
use crate::{Action, Problem};

/// A certificate is renewed when it has no longer than this to live: an engine may run for a year, and nothing renews it meanwhile.
const RENEWAL: u64 = LIFETIME / 2;

/// How the system says that a parent is none (errno(3), `ENOTDIR`).
const NOT_A_DIRECTORY: &str = "Not a directory";

/// What the server needs.
const SERVER: [&str; 3] = ["server/ca.pem", "server/cert.pem", "server/key.pem"];

/// The directory and what is in it.
pub(super) struct Store<'a> {
    pub(super) directory: &'a str,
    pub(super) tls: &'a Tls,
}

impl Store<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn get(&self, name: &str) -> Option<&File> {
        self.tls.files.get(&self.path(name))
    }

    fn key(&self, name: &str) -> Option<&Key> {
        match self.get(name) {
            Some(File::Key(key)) => Some(key),
            _ => None,
        }
    }

    fn certificates(&self, name: &str) -> &[Certificate] {
        match self.get(name) {
            Some(File::Certificates(all)) => all,
            _ => &[],
        }
    }

    fn has_server(&self) -> bool {
        SERVER.iter().all(|name| self.get(name).is_some())
    }

    /// Whether somebody else looks after the certificates.
    pub(super) fn is_of_user(&self) -> bool {
        self.has_server() && self.get(AUTHORITY_KEY).is_none()
    }

    /// What is missing beside a server's certificate that is not ours: without a CA key we have not made it, and must not
    /// replace it.
    pub(super) fn half_of_user(&self) -> Option<Problem> {
        let is_there = self.get(AUTHORITY_KEY).is_none() && !self.certificates("server/cert.pem").is_empty();
        let missing = SERVER.into_iter().find(|name| self.get(name).is_none()).filter(|_| is_there)?;
        Some(self.own_is_no_good(format!("`{}` is missing", self.path(missing))).cause(format!(
            "`{}` is there without a CA key of ours, so it is yours and stays",
            self.path("server/cert.pem")
        )))
    }

    pub(super) fn evidence(&self) -> String {
        let until = self.certificates("server/cert.pem").first().map_or(0, |c| c.not_after);
        format!("{} is valid until {}", self.path("server/cert.pem"), date(until))
    }

    /// Whether the user's own certificate will do.
    pub(super) fn server_of_user(&self) -> Result<String, Problem> {
        let path = self.path("server/cert.pem");
        for name in SERVER {
            if let Some(File::Broken(why)) = self.get(name) {
                return Err(self.own_is_no_good(format!("`{}` cannot be used", self.path(name))).cause(why));
            }
        }
        let (Some(certificate), Some(key)) =
            (self.certificates("server/cert.pem").first(), self.key("server/key.pem"))
        else {
            return Ok(path);
        };
        if let Some(why) = self.is_out_of_date(certificate) {
            return Err(self.own_is_no_good(format!("`{path}` is not valid now")).cause(why));
        }
        if key.id.as_ref().is_some_and(|id| *id != certificate.key) {
            return Err(self
                .own_is_no_good(format!(
                    "`{path}` and `{}` do not belong together",
                    self.path("server/key.pem")
                ))
                .cause(format!("the certificate (subject {}) is for another key", certificate.subject)));
        }
        let authorities = self.certificates("server/ca.pem");
        if let Some(why) = authorities.iter().map(|a| self.is_out_of_date(a)).collect::<Option<Vec<_>>>() {
            return Err(self
                .own_is_no_good(format!("`{}` lets no client in", self.path("server/ca.pem")))
                .cause(why.join("; ")));
        }
        Ok(format!("{path} is the user's own, valid until {}", date(certificate.not_after)))
    }

    fn own_is_no_good(&self, what: String) -> Problem {
        Problem::new(what).hint("put the right files there, whole, in PEM form and readable for root").hint(
            format!("or remove {} and {}: certificates are then made", self.path("server"), self.path("ca")),
        )
    }

    /// What keeps us from making certificates.
    pub(super) fn problem(&self) -> Option<Problem> {
        if self.get(AUTHORITY_KEY).is_none() && self.get(AUTHORITY).is_some() {
            return Some(
                Problem::new(format!("`{}` is there without its key", self.path(AUTHORITY)))
                    .cause(format!("`{}` does not exist, so no certificate can be signed by that CA", self.path(AUTHORITY_KEY)))
                    .hint("put the key beside it, or a complete server/ (ca.pem, cert.pem, key.pem) of your own")
                    .remedy("or begin with a new CA", format!("rm {}", self.path(AUTHORITY))),
            );
        }
        [AUTHORITY_KEY, "server/key.pem", "client/key.pem"].into_iter().find_map(|name| {
            let why = match self.get(name)? {
                File::Key(Key { kind: Kind::Other, .. }) if name == AUTHORITY_KEY => {
                    "it is neither an RSA key nor an ECDSA key on P-256, and we sign with no other"
                }
                File::Key(Key { id: Some(_), .. }) => return None,
                File::Key(_) => "it does not hold its public half",
                File::Certificates(_) => return None,
                File::Broken(why) => why,
            };
            let path = self.path(name);
            let problem = Problem::new(format!("`{path}` cannot be used")).cause(why);
            let problem = match name {
                _ if why.contains(NOT_A_DIRECTORY) => {
                    problem.hint(format!("{} must be a directory", self.directory))
                }
                // Without the CA's key, what that CA has signed would be taken for the user's own.
                AUTHORITY_KEY => problem.remedy(
                    "to begin with a new CA, remove what the old one has signed too",
                    format!("rm -r {} {}", self.path("ca"), self.path("server")),
                ),
                _ => problem
                    .remedy("if nobody needs that key, remove it: a new one is made", format!("rm {path}")),
            };
            Some(problem.remedy("to go without TLS", format!("{CERTDIR}=")))
        })
    }

    fn is_out_of_date(&self, certificate: &Certificate) -> Option<String> {
        let now = self.tls.now;
        if now < certificate.not_before {
            return Some(format!(
                "it is valid only from {}, and now it is {}",
                date(certificate.not_before),
                date(now)
            ));
        }
        (now > certificate.not_after)
            .then(|| format!("it ended {}, and now it is {}", date(certificate.not_after), date(now)))
    }

    /// What is to be done; `soon`: also for what is still good.
    pub(super) fn actions(&self, names: &BTreeSet<String>, soon: bool) -> Vec<Action> {
        let mut work = Work { directory: self.directory, facts: Facts::default(), actions: Vec::new(), soon };
        work.facts.tls = self.tls.clone();
        work.authority();
        work.identity("server", 0o600, Role::Server { names: names.iter().cloned().collect() });
        work.identity("client", 0o644, Role::Client);
        let is_hidden = self.tls.client_key_mode.is_some_and(|mode| mode & 0o044 != 0o044);
        if soon && is_hidden {
            work.add(Action::SetMode { path: self.path(CLIENT_KEY), mode: 0o644 });
        }
        work.actions
    }
}

/// Actions, and what is true after them.
struct Work<'a> {
    directory: &'a str,
    facts: Facts,
    actions: Vec<Action>,
    soon: bool,
}

impl Work<'_> {
    fn store(&self) -> Store<'_> {
        Store { directory: self.directory, tls: &self.facts.tls }
    }

    fn add(&mut self, action: Action) {
        action.predict(&mut self.facts);
        self.actions.push(action);
    }

    fn make_key(&mut self, name: &str, mode: u32) {
        if self.store().get(name).is_none() {
            self.add(Action::MakeKey { path: self.store().path(name), mode });
        }
    }

    fn has_time_left(&self, certificate: &Certificate) -> bool {
        let left = certificate.not_after.saturating_sub(self.facts.tls.now);
        self.store().is_out_of_date(certificate).is_none() && (!self.soon || left > RENEWAL)
    }

    /// The CA: its key, and a certificate for it.
    fn authority(&mut self) {
        self.make_key(AUTHORITY_KEY, 0o600);
        let store = self.store();
        let key = store.key(AUTHORITY_KEY).and_then(|key| key.id.as_ref());
        let is_good = |c: &Certificate| c.is_authority && Some(&c.key) == key && self.has_time_left(c);
        if !store.certificates(AUTHORITY).first().is_some_and(is_good) {
            self.issue(AUTHORITY, AUTHORITY_KEY, Role::Authority);
        }
    }

    /// A key, a certificate that the CA has signed, and the CA's own certificate beside them.
    fn identity(&mut self, folder: &str, key_mode: u32, role: Role) {
        let [ca, cert, key] = ["ca", "cert", "key"].map(|name| format!("{folder}/{name}.pem"));
        self.make_key(&key, key_mode);
        let store = self.store();
        let Some(authority) = store.certificates(AUTHORITY).first().cloned() else { return };
        let id = store.key(&key).and_then(|key| key.id.clone());
        let is_good = |c: &Certificate| {
            Some(&c.key) == id.as_ref()
                && c.issuer == authority.subject
                && c.signer.as_deref() == Some(authority.key_name())
                && self.has_time_left(c)
                && (!self.soon || role.names().iter().all(|name| c.names.contains(name)))
        };
        let is_known = |c: &Certificate| c.fingerprint == authority.fingerprint;
        let certificate_is_good = store.certificates(&cert).first().is_some_and(is_good);
        let authority_is_known = store.certificates(&ca).iter().any(is_known);
        if !certificate_is_good {
            self.issue(&cert, &key, role);
        }
        if !authority_is_known {
            let (from, to) = (self.store().path(AUTHORITY), self.store().path(&ca));
            self.add(Action::InstallFile { from, to, mode: 0o644 });
        }
    }

    fn issue(&mut self, path: &str, key: &str, role: Role) {
        let [path, key, directory] =
            [self.store().path(path), self.store().path(key), self.directory.to_owned()];
        self.add(Action::IssueCertificate { path, key, directory, role });
    }
}
