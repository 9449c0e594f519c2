//! Certificates for TLS, made for real and judged by OpenSSL.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dockerlaunch::probe::probe;
use dockerlaunch_plan::Verdict;
use dockerlaunch_plan::facts::Facts;
use dockerlaunch_plan::rules::tls;

mod tls_directory;

use tls_directory::{Certs, run, text};

#[test]
fn a_new_directory_has_what_docker_dind_makes_and_openssl_accepts_it_pain_52() {
    let certs = Certs { san: "dind,DNS:build.example.org,192.0.2.7,IP:fd00::7", ..Certs::new() };
    assert_eq!(certs.started().len(), 8);
    certs.verify();
    for (name, mode) in [
        ("ca/key.pem", 0o600),
        ("server/key.pem", 0o600),
        ("client/key.pem", 0o644),
        ("ca/cert.pem", 0o644),
        ("server/cert.pem", 0o644),
        ("server/ca.pem", 0o644),
        ("client/cert.pem", 0o644),
        ("client/ca.pem", 0o644),
        ("ca", 0o755),
        ("server", 0o755),
        ("client", 0o755),
    ] {
        assert_eq!(certs.mode(name), mode, "{name}");
    }
    assert_eq!(certs.snapshot().len(), 8, "nothing else is left");

    let server = certs.shown("server/cert.pem");
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    for wanted in [
        "DNS:docker,",
        "DNS:localhost",
        "DNS:dind",
        "DNS:build.example.org",
        "IP Address:192.0.2.7",
        "IP Address:FD00:0:0:0:0:0:0:7",
        "IP Address:127.0.0.1",
        &format!("DNS:{host}"),
        "TLS Web Server Authentication",
        "NIST CURVE: P-256",
        "ecdsa-with-SHA256",
        "Issuer: CN = docker:dind CA",
        "Subject: CN = docker:dind server",
        "Authority Key Identifier",
    ] {
        assert!(server.contains(wanted), "no `{wanted}` in {server}");
    }
    let ca = certs.shown("ca/cert.pem");
    for wanted in [
        "Key Usage: critical\n                Digital Signature, Certificate Sign\n",
        "Basic Constraints: critical\n                CA:TRUE\n",
        "Subject Key Identifier",
    ] {
        assert!(ca.contains(wanted), "no `{wanted}` in {ca}");
    }
    let client = certs.shown("client/cert.pem");
    assert!(client.contains("TLS Web Client Authentication") && !client.contains("Server Authentication"));
    // 825 days, the first hour of which is over.
    for (days, ends) in [(824, true), (825, false)] {
        let seconds = (days * 24 * 3600).to_string();
        assert_eq!(
            certs.try_openssl(&["x509", "-in", "server/cert.pem", "-checkend", &seconds]).status.success(),
            ends,
            "{days}"
        );
    }
}

#[test]
fn a_second_start_writes_nothing_and_a_new_name_only_the_servers_certificate_pain_18() {
    let mut certs = Certs::new();
    certs.started();
    let before = certs.snapshot();
    assert!(certs.started().is_empty());
    assert_eq!(certs.snapshot(), before);
    certs.san = "new.example.org";
    let done = certs.started();
    assert!(
        done.len() == 1 && done[0].contains("server/cert.pem") && done[0].contains("DNS:new.example.org"),
        "{done:?}"
    );
    certs.verify();
    let changed: Vec<_> =
        certs.snapshot().into_iter().filter(|file| !before.contains(file)).map(|file| file.0).collect();
    assert_eq!(changed, [certs.path("server/cert.pem")]);
}

#[test]
fn the_directory_of_docker_dind_goes_on_being_used() {
    let certs = Certs::of_docker_dind();
    let before = certs.snapshot();
    let done = certs.started();
    let [issued, readable] = &done[..] else { panic!("{done:?}") };
    // openssl has made that key for root alone, which docker:dind changes at every start.
    assert!(
        issued.contains("server/cert.pem") && readable.contains("client/key.pem the mode 0644"),
        "{done:?}"
    );
    assert!(certs.started().is_empty());
    certs.verify();
    assert!(certs.shown("server/cert.pem").contains("sha256WithRSAEncryption"));
    let after = certs.snapshot();
    let changed: Vec<_> = before.iter().filter(|file| !after.contains(file)).map(|file| &file.0).collect();
    assert_eq!(changed, [&certs.path("server/cert.pem")], "clients that have copies of theirs go on");
    assert!(certs.started().is_empty());
}

#[test]
fn keys_in_every_form_of_openssl_are_understood() {
    let convert: &[(&str, &[&str])] = &[
        ("ca/key.pem", &["rsa", "-traditional", "-in", "ca/key.pem", "-out", "new"]),
        ("server/key.pem", &["ecparam", "-name", "secp384r1", "-genkey", "-out", "new"]),
        (
            "server/key.pem",
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", "new"],
        ),
        ("ca/key.pem", &["ecparam", "-name", "prime256v1", "-genkey", "-out", "new"]),
    ];
    let certs = Certs::of_docker_dind();
    for (name, command) in convert {
        certs.openssl(command);
        fs::rename(certs.path("new"), certs.path(name)).expect("rename");
        certs.started();
        certs.verify();
        assert!(certs.started().is_empty(), "{name}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_told_and_left_alone() {
    let certs = Certs::new();
    certs.started();
    let commands: &[(&str, &[&str], &str)] = &[
        (
            "ca/key.pem",
            &["genpkey", "-algorithm", "ED25519", "-out", "new"],
            "neither an RSA key nor an ECDSA key on P-256",
        ),
        ("server/key.pem", &["genpkey", "-algorithm", "ED25519", "-out", "new"], "public half"),
        (
            "server/key.pem",
            &["genpkey", "-algorithm", "RSA", "-aes128", "-pass", "pass:x", "-out", "new"],
            "encrypted",
        ),
        (
            "client/key.pem",
            &["rsa", "-traditional", "-aes128", "-passout", "pass:x", "-in", "RSA", "-out", "new"],
            "encrypted",
        ),
    ];
    certs.openssl(&["genrsa", "-out", "RSA", "2048"]);
    for (name, command, word) in commands {
        let good = certs.read(name);
        certs.openssl(command);
        fs::rename(certs.path("new"), certs.path(name)).expect("rename");
        let bad = certs.read(name);
        let problem = certs.problem();
        assert!(problem.contains(name) && problem.contains(word), "{problem}");
        assert_eq!(certs.read(name), bad);
        fs::write(certs.path(name), good).expect("write");
    }
    for (bad, word) in
        [(&b"nonsense\n"[..], "no private key"), (&certs.read("ca/cert.pem"), "no private key")]
    {
        fs::write(certs.path("ca/key.pem"), bad).expect("write");
        assert!(certs.problem().contains(word), "{}", certs.problem());
    }
    let whole = certs.read("RSA");
    fs::write(certs.path("ca/key.pem"), &whole[..whole.len() / 2]).expect("write");
    assert!(certs.problem().contains("no whole PEM file"), "{}", certs.problem());
}

#[test]
fn broken_empty_and_foreign_certificates_of_ours_are_made_anew() {
    for (name, content) in [
        ("ca/cert.pem", &b""[..]),
        ("ca/cert.pem", b"nonsense"),
        ("server/cert.pem", b""),
        ("server/cert.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        ("server/ca.pem", b""),
        ("client/ca.pem", b"nonsense"),
    ] {
        let certs = Certs::new();
        certs.started();
        fs::write(certs.path(name), content).expect("write");
        assert!(!certs.started().is_empty(), "{name}");
        certs.verify();
        assert!(certs.started().is_empty());
    }
    // An empty key is what a crash leaves: nobody can have used it.
    let certs = Certs::new();
    certs.started();
    fs::write(certs.path("client/key.pem"), "").expect("write");
    certs.started();
    certs.verify();
    // Another CA's client.
    fs::remove_dir_all(certs.path("ca")).expect("remove");
    fs::remove_dir_all(certs.path("server")).expect("remove");
    let key = certs.read("client/key.pem");
    certs.started();
    certs.verify();
    assert_eq!(certs.read("client/key.pem"), key);
}

#[test]
fn certificates_of_the_users_own_are_not_touched() {
    let certs = Certs::of_the_user();
    let before = certs.snapshot();
    assert!(certs.started().is_empty());
    assert_eq!(certs.snapshot(), before);

    // One that has ended, one for another key, half of one, none.
    certs.openssl(&[
        "req",
        "-x509",
        "-key",
        "server/key.pem",
        "-subj",
        "/CN=x",
        "-days",
        "1",
        "-out",
        "today.pem",
    ]);
    let past =
        ["x509", "-in", "today.pem", "-signkey", "server/key.pem", "-days", "-1", "-out", "server/cert.pem"];
    certs.openssl(&past);
    assert!(certs.problem().contains("is not valid now"), "{}", certs.problem());
    fs::copy(certs.path("client/cert.pem"), certs.path("server/cert.pem")).expect("copy");
    assert!(certs.problem().contains("do not belong together"), "{}", certs.problem());
    let whole = certs.read("client/cert.pem");
    fs::write(certs.path("server/cert.pem"), &whole[..whole.len() / 2]).expect("write");
    assert!(certs.problem().contains("no whole PEM file"), "{}", certs.problem());
    fs::write(certs.path("server/cert.pem"), "nothing").expect("write");
    assert!(certs.problem().contains("no certificate in PEM form"), "{}", certs.problem());
    fs::remove_file(certs.path("server/cert.pem")).expect("remove");
    fs::create_dir(certs.path("server/cert.pem")).expect("dir");
    assert!(certs.problem().contains("cannot read it"), "{}", certs.problem());
    fs::remove_dir(certs.path("server/cert.pem")).expect("remove");
    assert!(certs.problem().contains("without its key"), "{}", certs.problem());
    // A chain, with text around it, as many CAs deliver it.
    fs::copy(certs.path("today.pem"), certs.path("server/cert.pem")).expect("copy");
    let chain = [
        b"subject: x\n".to_vec(),
        certs.read("server/cert.pem"),
        b"\n\n".to_vec(),
        certs.read("ca/cert.pem"),
    ]
    .concat();
    fs::write(certs.path("server/cert.pem"), chain).expect("write");
    assert!(certs.started().is_empty());
}

/// What cannot be written is an error that names the way out.
#[test]
fn a_directory_that_cannot_be_written_is_an_error_pain_19() {
    let certs = Certs::new();
    // A file in the place of a directory cannot be written even by root.
    fs::write(certs.path("ca"), "").expect("write");
    let facts = probe(&certs.config());
    let Verdict::Blocked { problem } = tls::make(&certs.config(), &facts) else {
        panic!("the key cannot be looked at")
    };
    assert!(problem.to_string().contains("Not a directory"), "{problem}");
    let error = run(&dockerlaunch_plan::Action::MakeKey {
        path: certs.path("ca/key.pem").to_string_lossy().into_owned(),
        mode: 0o600,
    });
    let problem = dockerlaunch_plan::diagnose::failed(
        &dockerlaunch_plan::Action::MakeKey { path: "/certs/ca/key.pem".into(), mode: 0o600 },
        &error.expect_err("not a directory"),
        &Facts::default(),
    );
    assert!(
        problem.hints.iter().any(|hint| hint.command.as_deref() == Some("DOCKER_TLS_CERTDIR=")),
        "{problem}"
    );
}

/// A server on loopback that ends with the test.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    fn start(certs: &Path) -> Self {
        let mut process = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-cert",
                "server/cert.pem",
                "-key",
                "server/key.pem",
            ])
            .args(["-CAfile", "server/ca.pem", "-Verify", "1", "-verify_return_error", "-naccept", "2"])
            .current_dir(certs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("ACCEPT")).expect("the address that it listens on");
        let port = line.trim().rsplit(':').next().unwrap_or_default().to_owned();
        // What it says further is read, so that it need not wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn client_and_server_shake_hands_and_strangers_do_not() {
    let certs = Certs::new();
    certs.started();
    let connect = |port: &str, host: &str, identity: bool| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile", "client/ca.pem"]);
        client.args(["-verify_return_error", "-verify_hostname", host, "-tls1_2"]);
        if identity {
            client.args(["-cert", "client/cert.pem", "-key", "client/key.pem"]);
        }
        client
            .current_dir(certs.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = client.spawn().expect("openssl");
        client.stdin.take().expect("piped").write_all(b"Q\n").expect("write");
        client.wait_with_output().expect("wait")
    };
    let server = Server::start(certs.dir.path());
    let good = connect(&server.port, "docker", true);
    assert!(good.status.success() && text(&good).contains("Verify return code: 0 (ok)"), "{}", text(&good));
    let wrong = connect(&server.port, "other.example.org", true);
    assert!(!wrong.status.success() && text(&wrong).contains("hostname mismatch"), "{}", text(&wrong));
    drop(server);
    let server = Server::start(certs.dir.path());
    let stranger = connect(&server.port, "docker", false);
    assert!(!stranger.status.success(), "{}", text(&stranger));
}
