//! A TLS directory, with OpenSSL as its maker and its judge.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use dockerlaunch::apply::System;
use dockerlaunch::probe::probe;
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::rules::tls;
use dockerlaunch_plan::{ActionError, Executor, Problem, Verdict};

/// A TLS directory.
pub(crate) struct Certs {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) san: &'static str,
}

impl Certs {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("dir"), san: "" }
    }

    /// As `docker:dind` leaves it: RSA keys, and names that are not all of this machine's.
    pub(crate) fn of_docker_dind() -> Self {
        let certs = Self::new();
        for (name, subject) in
            [("ca", "docker:dind CA"), ("server", "docker:dind server"), ("client", "docker:dind client")]
        {
            fs::create_dir(certs.path(name)).expect("dir");
            let key = format!("{name}/key.pem");
            certs.openssl(&["genrsa", "-out", &key, "2048"]);
            if name == "ca" {
                let usage = "keyUsage=critical,digitalSignature,keyCertSign";
                certs.openssl(&[
                    "req",
                    "-new",
                    "-key",
                    &key,
                    "-out",
                    "ca/cert.pem",
                    "-subj",
                    "/CN=docker:dind CA",
                    "-x509",
                    "-days",
                    "825",
                    "-addext",
                    usage,
                ]);
                continue;
            }
            certs.openssl(&["req", "-new", "-key", &key, "-out", "csr", "-subj", &format!("/CN={subject}")]);
            fs::write(
                certs.path("ext"),
                format!("extendedKeyUsage = {name}Auth\nsubjectAltName = DNS:docker\n"),
            )
            .expect("write");
            certs.openssl(&[
                "x509",
                "-req",
                "-in",
                "csr",
                "-CA",
                "ca/cert.pem",
                "-CAkey",
                "ca/key.pem",
                "-CAcreateserial",
                "-out",
                &format!("{name}/cert.pem"),
                "-days",
                "825",
                "-extfile",
                "ext",
            ]);
            fs::copy(certs.path("ca/cert.pem"), certs.path(&format!("{name}/ca.pem"))).expect("copy");
        }
        certs
    }

    /// A server's certificate from a CA whose key is elsewhere.
    pub(crate) fn of_the_user() -> Self {
        let certs = Self::of_docker_dind();
        fs::remove_file(certs.path("ca/key.pem")).expect("remove");
        certs
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect(name)
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect(name).permissions().mode() & 0o7777
    }

    /// Every file with its content, and the time of its last change.
    pub(crate) fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
        let mut all = Vec::new();
        for folder in ["ca", "server", "client"] {
            for entry in fs::read_dir(self.path(folder)).into_iter().flatten().flatten() {
                let time = entry.metadata().expect("stat").modified().expect("time");
                all.push((entry.path(), fs::read(entry.path()).expect("read"), time));
            }
        }
        all.sort();
        all
    }

    pub(crate) fn config(&self) -> Config {
        let directory = self.dir.path().to_string_lossy().into_owned();
        let env = [
            ("DOCKER_TLS_CERTDIR".to_owned(), directory),
            ("DOCKER_TLS_SAN".to_owned(), self.san.to_owned()),
        ];
        Config::new(Engine::default(), &BTreeMap::from(env))
    }

    /// Both rules on the real directory, and what they ask for done: the descriptions.
    pub(crate) fn start(&self) -> Result<Vec<String>, Problem> {
        let mut done = Vec::new();
        for rule in [tls::make, tls::renew] {
            match rule(&self.config(), &probe(&self.config())) {
                Verdict::Needed { actions } => {
                    for action in actions {
                        run(&action).unwrap_or_else(|error| panic!("{action}: {error}"));
                        done.push(action.to_string());
                    }
                }
                Verdict::Blocked { problem } => return Err(problem),
                Verdict::Satisfied { .. } | Verdict::Skipped { .. } => {}
            }
        }
        Ok(done)
    }

    pub(crate) fn started(&self) -> Vec<String> {
        self.start().unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub(crate) fn problem(&self) -> String {
        let problem = self.start().expect_err("it cannot be used");
        assert!(!problem.hints.is_empty(), "{problem}");
        problem.to_string()
    }

    pub(crate) fn openssl(&self, args: &[&str]) -> String {
        let output = self.try_openssl(args);
        let text = text(&output);
        assert!(output.status.success(), "openssl {args:?}: {text}");
        text
    }

    pub(crate) fn try_openssl(&self, args: &[&str]) -> Output {
        Command::new("openssl")
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("openssl of package openssl")
    }

    /// OpenSSL accepts everything, by the letter of RFC 5280.
    pub(crate) fn verify(&self) {
        for (folder, purpose) in [("server", "sslserver"), ("client", "sslclient")] {
            let (ca, cert) = (format!("{folder}/ca.pem"), format!("{folder}/cert.pem"));
            self.openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &ca, &cert]);
            assert_eq!(self.read(&ca), self.read("ca/cert.pem"));
            self.key_matches(folder);
        }
        self.key_matches("ca");
    }

    pub(crate) fn key_matches(&self, folder: &str) {
        let of_key = self.openssl(&["pkey", "-in", &format!("{folder}/key.pem"), "-pubout"]);
        let of_cert = self.openssl(&["x509", "-in", &format!("{folder}/cert.pem"), "-pubkey", "-noout"]);
        assert_eq!(of_key, of_cert, "{folder}");
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.openssl(&["x509", "-in", name, "-noout", "-text"])
    }
}

pub(crate) fn run(action: &dockerlaunch_plan::Action) -> Result<(), ActionError> {
    System::default().run(action)
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
