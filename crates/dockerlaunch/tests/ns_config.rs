//! Configuration by environment and daemon.json, with an engine that is a shell script and tells what it was given.

use std::process::Output;

mod empty_system;

use empty_system::{EmptySystem, READY, assert_status, text};

const HELP: &str = include_str!("../../dockerlaunch-plan/fixtures/dockerd/help-28.5.txt");

/// Answers `--help` as dockerd 28.5 does; `validate` is what it does for `--validate`, `start` for everything else.
fn engine(validate: &str, start: &str) -> EmptySystem {
    EmptySystem::new(&format!(
        "case \" $* \" in *' --help '*) echo asked >> /asked; cat <<'HELP'\n{HELP}\nHELP\nexit 0;; *' --validate '*) \
         {validate};; esac\n{start}"
    ))
}

const TELL: &str = r#"echo "args $*"; env; ls /asked; for a; do case $a in --config-file=*) stat -c 'mode %a' "${a#*=}"; cat "${a#*=}";; esac; done; exit 0"#;

fn run(system: &EmptySystem, env: &[(&str, &str)], files: &[(&str, &str)]) -> Output {
    system.configure(env, files, "");
    system.launch(&["dockerd", "--log-opt", "max-file=2"])
}

#[test]
fn ns_flags_and_files_are_made_one_pain_7() {
    let env = [
        ("DOCKERD_REGISTRY_MIRROR", "http://a,http://b"),
        ("DOCKERD_LOG_OPT", "max-size=1m,max-file=9"),
        ("MTU", "1450"),
        ("DOCKERD_CONFIG_JSON", r#"{"debug": true}"#),
        ("DOCKERD_PORT", "tcp://10.0.0.1:2376"),
        ("https_proxy", "http://proxy:3128"),
    ];
    let file =
        r#"{"mtu": 1400, "dns": ["192.0.2.1"], "log-opts": {"tag": "x"}, "registry-mirrors": ["http://c"]}"#;
    let output = run(&engine("exit 0", TELL), &env, &[("etc/docker/daemon.json", file)]);
    assert_status(&output, 0);
    let text = text(&output);
    let args = text.lines().find(|line| line.starts_with("args ")).expect("args");
    assert!(
        args.starts_with("args -H fd:// --registry-mirror=http://a ") && !args.contains("log-opt"),
        "{text}"
    );
    for flag in ["a", "b", "c"].map(|m| format!(" --registry-mirror=http://{m}")) {
        assert!(args.contains(&flag), "{text}");
    }
    assert!(args.contains(" --mtu=1450 "), "{text}");
    assert!(args.ends_with(" --config-file=/run/dockerlaunch/daemon.json"), "{text}");
    assert!(
        text.contains(
            "mode 600\n{\n  \"debug\": true,\n  \"dns\": [\n    \"192.0.2.1\"\n  ],\n  \"log-opts\": {\n"
        ),
        "{text}"
    );
    for option in ["\"max-file\": \"2\"", "\"max-size\": \"1m\"", "\"tag\": \"x\""] {
        assert!(text.contains(option), "{option}: {text}");
    }
    for notice in
        ["DOCKERD_LOG_OPT gives way to `--log-opt=max-file=2`", "`mtu` of /etc/docker/daemon.json gives way"]
    {
        assert_eq!(text.matches(notice).count(), 1, "{text}");
    }
    assert!(text.contains("\nHTTPS_PROXY=http://proxy:3128\n"), "{text}");
    assert!(text.contains("\nno_proxy=localhost,127.0.0.1,::1,docker\n"), "{text}");
}

#[test]
fn ns_a_hangup_brings_the_users_file_up_to_date_before_the_engine_hears_of_it() {
    let start = format!(
        r#"trap 'cat /run/dockerlaunch/daemon.json; exit 0' HUP
        {READY} sleep 0.3; echo '{{"mtu": 1400, "debug": false}}' > /etc/docker/daemon.json; kill -HUP $PPID
        for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done; exit 1"#
    );
    let system = engine("exit 0", &start);
    system.configure(
        &[("MTU", "1450")],
        &[("etc/docker/daemon.json", r#"{"mtu": 1400, "debug": true}"#)],
        "",
    );
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert!(text(&output).contains("{\n  \"debug\": false\n}\n"), "{}", text(&output));
}

#[test]
fn ns_without_need_nothing_is_asked_or_written() {
    let output =
        run(&engine("exit 0", TELL), &[("MTU", "1500")], &[("etc/docker/daemon.json", r#"{"debug": true}"#)]);
    assert_status(&output, 0);
    let text = text(&output);
    assert!(
        text.contains("args -H fd:// --log-opt max-file=2 --mtu=1500\n") && !text.contains("--config-file"),
        "{text}"
    );
    assert!(!text.contains("\n/asked\n"), "the engine was asked:\n{text}");
    assert!(!text.contains("HTTP_PROXY") && !text.contains("NO_PROXY"), "{text}");
}

#[test]
fn ns_mistakes_stop_the_launch_before_anything_is_touched() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Pairs<'_>, Pairs<'_>, &[&str])] = &[
        (&[("DOCKERD_MUT", "1")], &[], &["DOCKERD_MUT is not a setting", "did you mean: `DOCKERD_MTU`"]),
        (
            &[("DOCKERD_MTU", "fast"), ("MTU", "x")],
            &[],
            &["2 settings", "DOCKERD_MTU is `fast`", "whole number"],
        ),
        (
            &[("DOCKERD_CONFIG_JSON", "{mtu: 1}")],
            &[],
            &["DOCKERD_CONFIG_JSON is no valid JSON", "line 1, column 2"],
        ),
        (
            &[],
            &[("etc/docker/daemon.json", "{\n \"mtu\": 1,\n}")],
            &["/etc/docker/daemon.json", "line 3, column 1"],
        ),
        (
            &[("DOCKER_LAUNCH_REAP", "flase"), ("DOCKERLAUNCH_RESTART", "allways")],
            &[],
            &["DOCKER_LAUNCH_REAP=false", "DOCKERLAUNCH_RESTART=always"],
        ),
        // Nor does anything listen: who names listeners wants no others.
        (
            &[("DOCKER_TLS_CERTDIR", "")],
            &[("etc/docker/daemon.json", r#"{"hosts": "unix:///run/x.sock"}"#)],
            &["`hosts` of `/etc/docker/daemon.json` makes no sense", "expected a list of texts"],
        ),
        (&[], &[("etc/docker/daemon.json/x", "")], &["cannot read `/etc/docker/daemon.json`", "directory"]),
        (&[("DOCKERD_CONFIG_FILE", "/x.json")], &[], &["there is no configuration file `/x.json`"]),
        (
            &[("DOCKER_EXTRA_CA", "/none.crt")],
            &[],
            &["DOCKER_EXTRA_CA: `/none.crt` cannot be used", "No such file"],
        ),
        (
            &[("DOCKER_EXTRA_CA", "/ca.crt")],
            &[("ca.crt", "0\u{82}")],
            &["there is no PEM certificate", "openssl"],
        ),
    ];
    for (env, files, wanted) in cases {
        let output = run(&engine("exit 0", "echo started; exit 0"), env, files);
        assert_status(&output, 125);
        let text = text(&output);
        assert!(wanted.iter().all(|w| text.contains(w)) && text.contains("hint:"), "{wanted:?} in:\n{text}");
        let untouched = ["started", "mqueue", "listen on"].iter().all(|word| !text.contains(word));
        assert!(untouched, "something was done:\n{text}");
    }
    // To read a pipe would be to wait for ever.
    let system = EmptySystem::new("echo started");
    system.configure(&[], &[], "mkdir -p etc/docker; mkfifo etc/docker/daemon.json");
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 125);
    assert!(text(&output).contains("cause: it is a pipe, not a file"), "{}", text(&output));
}

#[test]
fn ns_an_empty_file_is_none() {
    let output = run(&engine("exit 0", TELL), &[], &[("etc/docker/daemon.json", "")]);
    assert_status(&output, 0);
    assert!(text(&output).contains("/etc/docker/daemon.json is empty"), "{}", text(&output));
}

#[test]
fn ns_the_engine_itself_explains_why_it_failed() {
    let refuses = "echo noise >&2; echo 'unable to configure the Docker daemon: what is this' >&2; exit 1";
    let output = run(&engine(refuses, "exit 1"), &[], &[]);
    assert_status(&output, 1);
    assert!(
        text(&output).contains("cause: unable to configure the Docker daemon: what is this"),
        "{}",
        text(&output)
    );
    // One that fails for another reason is not blamed for its configuration.
    for (validate, start, status) in [("exit 0", "exit 1", 1), (refuses, "exit 3", 3)] {
        let output = run(&engine(validate, start), &[], &[]);
        assert_status(&output, status);
        assert!(!text(&output).contains("does not accept"), "{}", text(&output));
    }
}

#[test]
fn ns_check_asks_the_engine_and_starts_nothing() {
    let reads = r#"for a; do case $a in --config-file=*) echo "in $a: $(cat "${a#*=}")" | tr -d '\n' >&2; exit 1;; esac; done; exit 0"#;
    let system = engine(reads, "echo started");
    let of = |json: &str| {
        let file = ("etc/docker/daemon.json", r#"{"debug": true}"#);
        system.configure(&[("DOCKERD_CONFIG_JSON", json)], &[file], "mkdir proc; mount -t proc proc proc");
        system.launch(&["check", "dockerd"])
    };
    let output = of(r#"{"x": 1}"#);
    assert_status(&output, 1);
    let told = text(&output);
    assert!(
        told.contains(r#"in --config-file=/etc/docker/daemon.json: {  "debug": true,  "x": 1}"#),
        "{told}"
    );
    assert!(!told.contains("started"), "{told}");
    assert!(!text(&of("{}")).contains("does not accept"), "nothing to merge, nothing to complain of");
}

/// An engine that wants its key pair for TLS, and fails for another reason.
#[test]
fn ns_tls_is_not_blamed_falsely() {
    let looks = "tls=$DOCKER_TLS_VERIFY; for a; do case $a in --tls|--tlsverify) tls=1;; --tlscert=*) cert=${a#*=};; --config-file=*) \
                 grep -q tlsverify \"${a#*=}\" && tls=1;; fd://) echo 'no sockets' >&2; exit 1;; esac; done; \
                 [ -z \"$tls\" ] || [ -s \"$cert\" ] || { echo 'Could not load X509 key pair' >&2; exit 1; }; exit 0";
    let file = [("etc/docker/daemon.json", r#"{"tlsverify": true}"#)];
    for (line, files, is_told) in [
        (&["--tlsverify"][..], &[][..], false),
        (&[], &file, false),
        (&["check", "--tls"], &[], false),
        (&["check", "--tlsverify"], &[], false),
        (&["check"], &file, false),
        (&["check", "dockerd", "--tlsverify"], &[], true),
    ] {
        let system = engine(looks, "echo 'disk is full' >&2; exit 1");
        system.configure(&[("DOCKER_TLS_VERIFY", "1")], files, "mkdir proc; mount -t proc proc proc");
        let output = system.launch(line);
        let is_check = line.first() == Some(&"check");
        assert_status(&output, i32::from(!is_check || is_told));
        let told = text(&output);
        assert_eq!(told.contains("X509"), is_told, "{line:?}: {told}");
        assert_eq!(told.contains("does not accept"), is_told, "{line:?}: {told}");
        assert_eq!(told.contains("disk is full"), !is_check, "{line:?}: {told}");
    }
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIBONE=\n-----END CERTIFICATE-----\n";

#[test]
fn ns_certificates_reach_the_engine_pain_16() {
    // This machine's own /usr may have some too, so only ours are looked for.
    let tell =
        r#"echo "file $SSL_CERT_FILE"; grep -E 'MIIB(ONE|TWO|SIX)=' "$SSL_CERT_FILE" | tr '\n' ' '; exit 0"#;
    let other = CERTIFICATE.replace("ONE", "TWO");
    let mounted = CERTIFICATE.replace("ONE", "SIX");
    let files = [
        ("etc/ssl/certs/ca-certificates.crt", CERTIFICATE),
        ("extra/company.pem", other.as_str()),
        ("usr-local.crt", mounted.as_str()),
        ("certs.d/mounted.crt", mounted.as_str()),
        ("certs.d/broken.crt", "nothing"),
    ];
    let output = run(&engine("exit 0", tell), &[("DOCKER_EXTRA_CA", "/extra:/usr-local.crt")], &files);
    assert_status(&output, 0);
    let told = text(&output);
    assert!(told.contains("file /run/dockerlaunch/ca-certificates.crt\n"), "{told}");
    assert!(told.contains("\nMIIBONE= MIIBTWO= MIIBSIX= "), "each once:\n{told}");
    assert!(!told.contains("the system does not show it"), "{told}");
    assert!(told.contains("/certs.d/broken.crt is left out"), "{told}");

    let text_itself = run(&engine("exit 0", tell), &[("DOCKER_EXTRA_CA", &other)], &files[..1]);
    let told = text(&text_itself);
    assert!(told.contains("\nMIIBONE= MIIBTWO= ") && !told.contains("the system does not show it"), "{told}");
}

#[test]
fn ns_what_may_be_a_mistake_is_told() {
    let env = [("SSL_CERT_FILE", "/nope.crt"), ("DOCKER_TLS_CERT_DIR", "")];
    let output = run(&engine("exit 0", "exit 0"), &env, &[]);
    assert_status(&output, 0);
    let told = text(&output);
    assert!(told.contains("warning: SSL_CERT_FILE is `/nope.crt`, and there is no such file"), "{told}");
    assert!(told.contains("did you mean DOCKER_TLS_CERTDIR?"), "{told}");
    let there = run(&engine("exit 0", "exit 0"), &[("SSL_CERT_FILE", "/x.crt")], &[("x.crt", CERTIFICATE)]);
    assert!(!text(&there).contains("no such file"), "{}", text(&there));
    let system = engine("exit 0", "exit 0");
    system.configure(&[("DOCKER_TLS_SAN", "URI:spiffe://a")], &[], "");
    assert!(
        text(&system.launch(&["plan"])).contains("note  `URI:spiffe://a` in DOCKER_TLS_SAN is passed over")
    );
}

/// Everything that we print, with secrets planted wherever there may be one.
#[test]
fn ns_no_secret_gets_out() {
    const SECRET: &str = "S3CRET";
    let json = format!(
        r#"{{"log-opts": {{"splunk-token": "{SECRET}"}}, "proxies": {{"http-proxy": "http://u:{SECRET}@p"}}}}"#
    );
    let file = format!(
        r#"{{"log-opts": {{"gelf-password": "{SECRET}"}}, "dns": ["192.0.2.1"], "auth": "{SECRET}"}}"#
    );
    let proxy = format!("http://user:{SECRET}@proxy:3128");
    let certificate =
        format!("{CERTIFICATE}-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    let good = [
        ("HTTP_PROXY", proxy.as_str()),
        ("https_proxy", proxy.as_str()),
        ("DOCKERD_CONFIG_JSON", &json),
        ("DOCKERD_HTTPS_PROXY", &proxy),
        ("DOCKERD_LOG_OPT", "splunk-token=S3CRET,x-secret=S3CRET"),
        ("DOCKER_DAEMON_ARGS", "--log-opt other-token=S3CRET --dns 192.0.2.2"),
        ("DOCKER_EXTRA_CA", &certificate),
    ];
    let spaced = [
        ("HTTP_PROXY", "http://user:a S3CRET b@proxy"),
        ("DOCKERD_HTTP_PROXY", "http://user:a S3CRET b@proxy"),
        ("DOCKERD_LOG_OPT", "splunk-token=ab cd S3CRET"),
        ("DOCKER_DAEMON_ARGS", "--log-opt gelf-password=abc S3CRET"),
        ("DOCKERD_CONFIG_JSON", r#"{"proxies": {"https-proxy": "http://u:a S3CRET b@p"}}"#),
    ];
    let bad_proxy = format!("ftp://user:{SECRET}@proxy");
    let bad = [
        ("HTTP_PROXY", bad_proxy.as_str()),
        ("DOCKERD_LOG_OPT", "splunk-token=S3C,S3CRET"),
        ("DOCKERD_CONFIG_JSON", "{\"splunk-token\": \"S3CRET}"),
    ];
    let refuses = format!("echo 'http-proxy: (from flag: http://u:{SECRET}@p)' >&2; exit 1");
    let commands: &[&[&str]] = &[
        &["dockerd", "--log-opt", "cli-password=S3CRET"],
        &["plan", "dockerd", "--http-proxy=http://u:S3CRET@p"],
        &["plan", "--json", "dockerd", "--http-proxy", "http://u:S3CRET@p"],
        &["plan", "dockerd", "--http-proxy=http://u:a S3CRET b@p", "--log-opt", "cli-password=a S3CRET"],
        &[
            "plan",
            "--json",
            "dockerd",
            "--http-proxy=http://u:a S3CRET b@p",
            "--log-opt=cli-password=a S3CRET",
        ],
        &["check", "dockerd"],
        &["check", "--json"],
        &["facts"],
    ];
    for env in [&good[..], &spaced[..], &bad[..]] {
        let system = engine(&refuses, "exit 1");
        system.configure(env, &[("etc/docker/daemon.json", &file)], "");
        for command in commands {
            let output = system.launch(command);
            let text = text(&output);
            assert!(!text.is_empty(), "{command:?} says nothing");
            assert!(!text.contains(SECRET), "{command:?} with {env:?}:\n{text}");
        }
    }
}
