//! Certificates for TCP, in the layout that users of `docker:dind` share by volume:
//! `$DOCKER_TLS_CERTDIR/{ca,server,client}/{ca,cert,key}.pem`.
//!
//! With a CA key there, certificates are ours to make and to renew; keys are kept. A complete `server/` without one belongs to
//! the user and is only looked at.

use std::collections::BTreeSet;

use crate::config::variables::CERTDIR;
use crate::facts::tls::{
    AUTHORITY, AUTHORITY_KEY, CLIENT_KEY, Certificate, File, Key, Kind, LIFETIME, Role, date,
};
use crate::facts::{Facts, Tls};
use crate::{Action, Config, Problem, Verdict};

use super::listeners;

/// What every certificate is valid for: what `docker:dind` is called in CI, and the loopback, which may not be up yet.
const NAMES: &[&str] = &["DNS:docker", "DNS:localhost", "IP:127.0.0.1", "IP:::1"];

/// A certificate is renewed when it has no longer than this to live: an engine may run for a year, and nothing renews it meanwhile.
const RENEWAL: u64 = LIFETIME / 2;

/// This program is younger: a clock that is behind makes certificates that have ended for everybody else.
const EARLIEST: u64 = 1_760_000_000;

/// How the system says that a parent is none (errno(3), `ENOTDIR`).
const NOT_A_DIRECTORY: &str = "Not a directory";

/// What the server needs.
const SERVER: [&str; 3] = ["server/ca.pem", "server/cert.pem", "server/key.pem"];

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

/// The directory and what is in it.
struct Store<'a> {
    directory: &'a str,
    tls: &'a Tls,
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
    fn is_of_user(&self) -> bool {
        self.has_server() && self.get(AUTHORITY_KEY).is_none()
    }

    /// What is missing beside a server's certificate that is not ours: without a CA key we have not made it, and must not
    /// replace it.
    fn half_of_user(&self) -> Option<Problem> {
        let is_there = self.get(AUTHORITY_KEY).is_none() && !self.certificates("server/cert.pem").is_empty();
        let missing = SERVER.into_iter().find(|name| self.get(name).is_none()).filter(|_| is_there)?;
        Some(self.own_is_no_good(format!("`{}` is missing", self.path(missing))).cause(format!(
            "`{}` is there without a CA key of ours, so it is yours and stays",
            self.path("server/cert.pem")
        )))
    }

    fn evidence(&self) -> String {
        let until = self.certificates("server/cert.pem").first().map_or(0, |c| c.not_after);
        format!("{} is valid until {}", self.path("server/cert.pem"), date(until))
    }

    /// Whether the user's own certificate will do.
    fn server_of_user(&self) -> Result<String, Problem> {
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
    fn problem(&self) -> Option<Problem> {
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
    fn actions(&self, names: &BTreeSet<String>, soon: bool) -> Vec<Action> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Engine;
    use crate::facts::Link;

    const NOW: u64 = 1_764_000_000;
    const DAY: u64 = 24 * 3600;

    fn config(env: &[(&str, &str)]) -> Config {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::new(Engine::default(), &env)
    }

    fn empty() -> Facts {
        let mut facts = Facts::default();
        facts.tls.now = NOW;
        facts.tls.host_names = vec!["Box".into()];
        facts.links = vec![link("eth0", "192.0.2.7/24")];
        facts
    }

    fn link(name: &str, cidr: &str) -> Link {
        let addresses = vec![cidr.to_owned().try_into().expect("address")];
        Link { name: name.into(), loopback: false, up: true, is_bridge: false, addresses }
    }

    /// Facts after everything was done.
    fn complete() -> Facts {
        let mut facts = empty();
        perform(make(&config(&[]), &empty()), &mut facts);
        for file in facts.tls.files.values_mut() {
            if let File::Certificates(all) = file {
                all.iter_mut().for_each(|c| c.fingerprint = format!("of {}", c.subject));
            }
        }
        facts
    }

    fn perform(verdict: Verdict, facts: &mut Facts) -> Vec<String> {
        match verdict {
            Verdict::Needed { actions } => {
                actions.iter().for_each(|action| action.predict(facts));
                actions.iter().map(ToString::to_string).collect()
            }
            Verdict::Blocked { problem } => panic!("{problem}"),
            _ => vec![],
        }
    }

    fn file<'a>(facts: &'a mut Facts, name: &str) -> &'a mut File {
        facts.tls.files.get_mut(&format!("/certs/{name}")).expect(name)
    }

    fn certificate<'a>(facts: &'a mut Facts, name: &str) -> &'a mut Certificate {
        match file(facts, name) {
            File::Certificates(all) => &mut all[0],
            other => panic!("{other:?}"),
        }
    }

    /// What is done at a next start, by both rules.
    fn next(mut facts: Facts) -> (Vec<String>, Vec<String>) {
        let must = perform(make(&config(&[]), &facts), &mut facts);
        let may = perform(renew(&config(&[]), &facts), &mut facts);
        assert!(matches!(make(&config(&[]), &facts), Verdict::Satisfied { .. }));
        assert!(matches!(renew(&config(&[]), &facts), Verdict::Satisfied { .. }));
        (must, may)
    }

    fn blocked(facts: &Facts) -> Problem {
        match make(&config(&[]), facts) {
            Verdict::Blocked { problem } => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_directory_gets_everything_that_docker_dind_makes() {
        let mut facts = empty();
        let must = perform(make(&config(&[("DOCKER_TLS_SAN", "dind,192.0.2.8")]), &empty()), &mut facts);
        insta::assert_snapshot!(must.join("\n"), @r"
        make the key /certs/ca/key.pem
        issue the certificate /certs/ca/cert.pem
        make the key /certs/server/key.pem
        issue the certificate /certs/server/cert.pem for DNS:box, DNS:dind, DNS:docker, DNS:localhost, IP:127.0.0.1, IP:192.0.2.7, IP:192.0.2.8, IP:::1
        copy /certs/ca/cert.pem over /certs/server/ca.pem
        make the key /certs/client/key.pem
        issue the certificate /certs/client/cert.pem
        copy /certs/ca/cert.pem over /certs/client/ca.pem
        ");
    }

    #[test]
    fn what_is_there_and_good_is_left_alone() {
        assert_eq!(next(complete()), (vec![], vec![]));
    }

    #[test]
    fn only_what_is_no_good_is_made_anew_and_keys_are_kept() {
        fn of_another_ca(facts: &mut Facts) {
            facts.tls.files.retain(|path, _| path.contains("/client/"));
            certificate(facts, "client/cert.pem").signer = Some("lost".into());
        }
        type Change = fn(&mut Facts);
        let ca = "ca! ca>server ca>client";
        let cases: &[(Change, &str)] = &[
            (|f| f.tls.files.retain(|path, _| !path.contains("server")), "server+ server! ca>server"),
            (|f| *file(f, "server/cert.pem") = File::Broken("cut off".into()), "server!"),
            (|f| certificate(f, "server/cert.pem").not_after = NOW - 1, "server!"),
            (|f| certificate(f, "server/cert.pem").not_before = NOW + 1, "server!"),
            (|f| certificate(f, "server/cert.pem").key = "x".into(), "server!"),
            (|f| certificate(f, "client/cert.pem").signer = Some("x".into()), "client!"),
            (|f| certificate(f, "client/cert.pem").issuer = "CN=x".into(), "client!"),
            (|f| certificate(f, "client/ca.pem").fingerprint = "x".into(), "ca>client"),
            (|f| certificate(f, AUTHORITY).not_after = NOW - 1, ca),
            (|f| certificate(f, AUTHORITY).is_authority = false, ca),
            (|f| *file(f, AUTHORITY) = File::Broken("cut off".into()), ca),
            (|f| certificate(f, AUTHORITY).key = "x".into(), ca),
            (of_another_ca, "ca+ ca! server+ server! ca>server client! ca>client"),
        ];
        // A key made, a certificate issued, one copied.
        let short = |action: &String| {
            let words: Vec<&str> = action.split_whitespace().collect();
            let folder = |path: &str| path.split('/').nth(2).unwrap_or_default().to_owned();
            match words[0] {
                "make" => format!("{}+", folder(words[3])),
                "issue" => format!("{}!", folder(words[3])),
                _ => format!("{}>{}", folder(words[1]), folder(words[3])),
            }
        };
        for (i, (change, wanted)) in cases.iter().enumerate() {
            let mut facts = complete();
            change(&mut facts);
            let (must, may) = next(facts);
            assert_eq!(must.iter().map(short).collect::<Vec<_>>().join(" "), *wanted, "case {i}");
            assert!(may.is_empty(), "case {i}: {may:?}");
        }
    }

    #[test]
    fn what_is_good_but_not_for_long_or_not_for_all_is_renewed_where_that_can_be() {
        let mut facts = complete();
        certificate(&mut facts, "server/cert.pem").not_after = NOW + 412 * DAY;
        let (must, may) = next(facts);
        assert!(
            must.is_empty() && may.len() == 1 && may[0].contains("/certs/server/cert.pem"),
            "{must:?} {may:?}"
        );

        let mut facts = complete();
        certificate(&mut facts, "server/cert.pem").not_after = NOW + 413 * DAY;
        assert_eq!(next(facts), (vec![], vec![]));

        let mut facts = complete();
        facts.links.push(link("eth1", "192.0.2.9/24"));
        let (must, may) = next(facts);
        assert!(must.is_empty() && may.len() == 1 && may[0].contains("IP:192.0.2.9"), "{must:?} {may:?}");

        // The CA's certificate alone: its key and name stay, so what it has signed does too.
        let mut facts = complete();
        certificate(&mut facts, AUTHORITY).not_after = NOW + 412 * DAY;
        let (must, may) = next(facts);
        assert!(must.is_empty() && may.len() == 3 && !may.join("").contains("key"), "{must:?} {may:?}");
    }

    #[test]
    fn clients_can_read_their_key_again() {
        for (mode, wanted) in [(0o600, true), (0o640, true), (0o644, false), (0o666, false)] {
            let mut facts = complete();
            facts.tls.client_key_mode = Some(mode);
            let (must, may) = next(facts);
            assert!(must.is_empty() && may.is_empty() != wanted, "{mode:o}: {must:?} {may:?}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_is_told() {
        let mut facts = empty();
        assert_eq!(warning(&config(&[]), &facts), None);
        facts.tls.now = 300;
        let told = warning(&config(&[]), &facts).expect("a warning");
        assert!(told.contains("1970-01-01T00:05:00Z"), "{told}");
        assert_eq!(warning(&config(&[("DOCKER_TLS_CERTDIR", "")]), &facts), None);
    }

    #[test]
    fn a_ca_of_somebody_elses_keeps_its_name() {
        let mut facts = complete();
        *file(&mut facts, AUTHORITY_KEY) = File::Key(Key { kind: Kind::Rsa, id: Some("theirs".into()) });
        let authority = Certificate {
            subject: "O=Example".into(),
            key: "theirs".into(),
            identifier: None,
            not_after: NOW - 1,
            ..certificate(&mut facts, AUTHORITY).clone()
        };
        *file(&mut facts, AUTHORITY) = File::Certificates(vec![authority]);
        perform(make(&config(&[]), &facts), &mut facts.clone());
        let mut after = facts.clone();
        perform(make(&config(&[]), &facts), &mut after);
        assert_eq!(certificate(&mut after, AUTHORITY).subject, "O=Example");
        assert_eq!(certificate(&mut after, "server/cert.pem").issuer, "O=Example");
        assert_eq!(next(after), (vec![], vec![]));
    }

    #[test]
    fn certificates_of_the_users_own_are_only_looked_at() {
        let mut own = complete();
        own.tls.files.remove("/certs/ca/key.pem");
        let Verdict::Satisfied { evidence } = make(&config(&[]), &own) else { panic!("satisfied") };
        assert!(evidence.contains("the user's own, valid until 2028-02-27T"), "{evidence}");
        assert!(matches!(renew(&config(&[]), &own), Verdict::Skipped { .. }));
        type Change = fn(&mut Facts);
        let cases: Vec<(Change, &str)> = vec![
            (|f| *file(f, "server/cert.pem") = File::Broken("it is cut off".into()), "it is cut off"),
            (|f| *file(f, "server/key.pem") = File::Broken("permission denied".into()), "permission denied"),
            (|f| *file(f, "server/ca.pem") = File::Broken("no PEM".into()), "no PEM"),
            (|f| certificate(f, "server/cert.pem").not_after = NOW - DAY, "it ended 2025-11-23T"),
            (|f| certificate(f, "server/cert.pem").not_before = NOW + DAY, "valid only from 2025-11-25T"),
            (|f| certificate(f, "server/cert.pem").key = "another".into(), "is for another key"),
            (|f| certificate(f, "server/ca.pem").not_after = NOW - DAY, "lets no client in"),
        ];
        for (change, word) in cases {
            let mut facts = own.clone();
            change(&mut facts);
            let problem = blocked(&facts);
            assert!(problem.to_string().contains(word) && !problem.hints.is_empty(), "{word}: {problem}");
        }
        // One that is not ours and not whole is never replaced by ours.
        for name in ["server/ca.pem", "server/key.pem"] {
            let mut facts = own.clone();
            facts.tls.files.retain(|path, _| path.starts_with("/certs/server/") && !path.ends_with(name));
            let problem = blocked(&facts);
            assert!(problem.what.contains(name) && problem.hints.len() == 2, "{problem}");
            assert!(matches!(renew(&config(&[]), &facts), Verdict::Skipped { .. }));
        }
        // A key whose public half cannot be told is dockerd's to judge.
        *file(&mut own, "server/key.pem") = File::Key(Key { kind: Kind::Other, id: None });
        assert!(matches!(make(&config(&[]), &own), Verdict::Satisfied { .. }));
    }

    #[test]
    fn keys_that_cannot_be_used_are_never_replaced() {
        for (name, key, word) in [
            (AUTHORITY_KEY, File::Broken("it is cut off".into()), "it is cut off"),
            ("server/key.pem", File::Broken("it is encrypted".into()), "it is encrypted"),
            ("client/key.pem", File::Key(Key { kind: Kind::Other, id: None }), "public half"),
            (
                AUTHORITY_KEY,
                File::Broken("Not a directory (os error 20)".into()),
                "/certs must be a directory",
            ),
            (
                AUTHORITY_KEY,
                File::Key(Key { kind: Kind::Other, id: Some("x".into()) }),
                "we sign with no other",
            ),
        ] {
            let mut facts = complete();
            *file(&mut facts, name) = key;
            let problem = blocked(&facts);
            assert!(problem.what.contains(name) && problem.to_string().contains(word), "{problem}");
            assert!(problem.hints.iter().any(|hint| hint.command.as_deref() == Some("DOCKER_TLS_CERTDIR=")));
            assert!(matches!(renew(&config(&[]), &facts), Verdict::Skipped { .. }));
        }
        let mut facts = complete();
        facts.tls.files.retain(|path, _| path == "/certs/ca/cert.pem");
        let problem = blocked(&facts);
        assert!(problem.what.contains("without its key") && !problem.hints.is_empty(), "{problem}");
    }

    #[test]
    fn nonsense_in_the_variables_stops_the_launch_and_only_where_tls_is_used() {
        for env in [[("DOCKER_TLS_SAN", "a:b")], [("DOCKER_TLS_CERTDIR", "certs")]] {
            let Verdict::Blocked { problem } = make(&config(&env), &empty()) else { panic!("{env:?}") };
            assert!(problem.what.contains(env[0].0));
        }
        let off = config(&[("DOCKER_TLS_CERTDIR", ""), ("DOCKER_TLS_SAN", "a:b")]);
        assert!(matches!(make(&off, &empty()), Verdict::Skipped { .. }));
        let named = Config { engine: Engine::new("dockerd", &[]), ..config(&[]) };
        assert!(matches!(make(&named, &empty()), Verdict::Skipped { .. }));
    }

    fn any_file() -> impl Strategy<Value = File> {
        let id = || proptest::option::of("[ab]");
        let kind = prop_oneof![Just(Kind::P256), Just(Kind::Rsa), Just(Kind::Other)];
        let certificate = ("[ab]", "[ab]", id(), id(), any::<bool>(), 0..4u64, "[ab]").prop_map(
            |(key, subject, identifier, signer, is_authority, time, fingerprint)| Certificate {
                issuer: subject.clone(),
                subject,
                key,
                identifier,
                signer,
                is_authority,
                not_before: NOW + time.saturating_sub(2),
                not_after: NOW + time * 20 * DAY - 1,
                names: vec![],
                fingerprint,
            },
        );
        prop_oneof![
            (kind, id()).prop_map(|(kind, id)| File::Key(Key { kind, id })),
            certificate.prop_map(|c| File::Certificates(vec![c])),
            Just(File::Broken("broken".into())),
        ]
    }

    proptest! {
        /// Whatever lies there: once everything asked for is done, nothing more is asked for, and no key was replaced.
        #[test]
        fn one_start_is_enough(files in proptest::collection::btree_map("/certs/(ca|server|client)/(ca|cert|key).pem", any_file(), 0..9)) {
            let keys = |facts: &Facts| -> BTreeMap<String, File> {
                facts.tls.files.iter().filter(|(p, _)| p.ends_with("key.pem")).map(|(p, f)| (p.clone(), f.clone())).collect()
            };
            let mut facts = empty();
            facts.tls.files = files.into_iter().filter(|(path, file)| path.ends_with("/key.pem") != matches!(file, File::Certificates(_))).collect();
            let before = keys(&facts);
            let verdict = make(&config(&[]), &facts);
            if let Verdict::Blocked { problem } = verdict {
                prop_assert!(!problem.hints.is_empty());
                return Ok(());
            }
            perform(verdict, &mut facts);
            let verdict = renew(&config(&[]), &facts);
            perform(verdict, &mut facts);
            prop_assert!(!matches!(make(&config(&[]), &facts), Verdict::Needed { .. }), "{:#?}", facts.tls);
            prop_assert!(!matches!(renew(&config(&[]), &facts), Verdict::Needed { .. }), "{:#?}", facts.tls);
            let after = keys(&facts);
            prop_assert!(before.iter().all(|(path, file)| after.get(path) == Some(file)));
        }
    }
}
