use super::*;

fn argv(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn of(line: &str) -> Invocation {
    parse(&argv(line)).expect(line)
}

fn launched(line: &str) -> (String, String) {
    match of(line) {
        Invocation::Launch(engine) => (engine.program, engine.args.join(" ")),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_contracts_table() {
    let s = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(launched("dockerlaunch"), s("dockerd", ""));
    assert_eq!(launched("/init"), s("dockerd", ""));
    assert_eq!(launched("dockerlaunch --mtu=1450 -D"), s("dockerd", "--mtu=1450 -D"));
    assert_eq!(launched("dockerlaunch dockerd --debug"), s("dockerd", "--debug"));
    assert_eq!(launched("dockerlaunch /opt/dockerd-29 -D"), s("/opt/dockerd-29", "-D"));
    assert_eq!(launched("dockerlaunch daemon -s overlay"), s("dockerd", "--storage-driver overlay2"));
    assert_eq!(
        launched("dockerlaunch /usr/bin/docker -d -s overlay"),
        s("/usr/bin/dockerd", "--storage-driver overlay2")
    );
    assert_eq!(launched("dockerlaunch docker daemon -g /x"), s("dockerd", "--data-root /x"));
    assert_eq!(launched("dockerlaunch -d"), s("dockerd", ""));
    assert_eq!(launched("dockerd-entrypoint.sh dockerd --group=7"), s("dockerd", "--group=7"));
    assert_eq!(launched("dockerlaunch dockerd-entrypoint.sh -D"), s("dockerd", "-D"));
    assert_eq!(launched("dockerd-entrypoint.sh --version"), s("dockerd", "--version"));
}

#[test]
fn listeners_are_set_up_where_no_engine_was_named() {
    for (line, wanted) in [
        ("dockerlaunch", true),
        ("dockerlaunch --mtu=1450 -D", true),
        ("dockerd-entrypoint.sh", true),
        ("dockerlaunch dockerd-entrypoint.sh -D", true),
        ("dockerlaunch dockerd", false),
        ("dockerd-entrypoint.sh dockerd --group=7", false),
        ("dockerlaunch -d", false),
        ("dockerlaunch daemon -s overlay", false),
        ("dockerlaunch /usr/bin/docker -d", false),
    ] {
        let Invocation::Launch(engine) = of(line) else { panic!("{line}") };
        assert_eq!(engine.default_listeners, wanted, "{line}");
    }
}

#[test]
fn clients_and_our_own_words() {
    let words = argv;
    assert_eq!(of("dockerlaunch ps -a"), Invocation::Client(words("docker ps -a")));
    assert_eq!(of("dockerlaunch docker ps"), Invocation::Client(words("docker ps")));
    assert_eq!(of("dockerlaunch run --rm x"), Invocation::Client(words("docker run --rm x")));
    assert_eq!(of("dockerlaunch run -- make test"), Invocation::Job(words("make test")));
    assert_eq!(of("dockerlaunch /bin/sh -c true"), Invocation::Client(words("/bin/sh -c true")));
    assert_eq!(of("docker-entrypoint.sh info"), Invocation::Client(words("docker info")));
    assert_eq!(
        of("/sbin/modprobe -va br_netfilter"),
        Invocation::Modprobe(vec!["-va".into(), "br_netfilter".into()])
    );
    let seconds = Duration::from_secs;
    assert_eq!(of("dockerlaunch ready --timeout 5"), Invocation::Ready(seconds(5)));
    assert_eq!(of("dockerlaunch ready"), Invocation::Ready(READY));
    assert_eq!(of("dockerlaunch drain --timeout=2m"), Invocation::Drain(Some(seconds(120))));
    assert_eq!(of("dockerlaunch drain"), Invocation::Drain(None));
    assert!(matches!(of("dockerlaunch plan --json docker -d"), Invocation::Plan(Output::Json, _)));
    let json = |check: &Check| check.output == Output::Json;
    assert!(matches!(of("dockerlaunch check -D --json"), Invocation::Check(check, _) if json(&check)));
    let planned = |line: &str| match of(line) {
        Invocation::Plan(Output::Text, engine) => (engine.program, engine.args.join(" ")),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(planned("dockerlaunch plan -- dockerd -D"), launched("dockerlaunch -- dockerd -D"));
    assert_eq!(planned("dockerlaunch plan --label --json -D").1, "--label --json -D");
}

#[test]
fn nonsense_is_a_usage_error_with_a_hint() {
    for line in [
        "d facts x",
        "d ready soon",
        "d ready --timout 5",
        "d drain x",
        "d drain --timeout 1 2",
        "d run --",
        "d plan ls",
        "d explain a b",
    ] {
        assert!(!parse(&argv(line)).expect_err(line).hint.is_empty());
    }
    assert!(parse(&["d".into(), "".into()]).expect_err("empty").message.contains("empty"));
}

#[test]
fn the_nearest_word_is_offered() {
    for (line, hint) in [
        ("d plan --jsn", "write: `dockerlaunch plan --json`"),
        ("d check -json --debug", "write: `dockerlaunch check --json`"),
        ("d explain cgroup.nst", "write: `dockerlaunch explain cgroup.nest`"),
        ("d explain weather", "write: `dockerlaunch explain`"),
    ] {
        assert_eq!(parse(&argv(line)).expect_err(line).hint, hint);
    }
    // Options of dockerd are not taken for misspelt ones of ours.
    assert!(matches!(of("d plan --dns 1.1.1.1 --json"), Invocation::Plan(Output::Json, _)));
}

#[test]
fn after_two_dashes_no_word_is_ours() {
    assert_eq!(launched("dockerlaunch -- dockerd -D"), ("dockerd".into(), "-D".into()));
    assert_eq!(launched("dockerlaunch -- -D"), ("dockerd".into(), "-D".into()));
    assert_eq!(of("dockerlaunch -- check x"), Invocation::Client(argv("check x")));
    assert_eq!(launched("dockerlaunch --"), ("dockerd".into(), "--".into()));
}

#[test]
fn bytes_that_are_not_text_reach_programs_and_never_the_engine() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || OsString::from_vec(b"/x\xff/dockerd".to_vec());
    let call = |words: &[&str]| parse(&words.iter().map(OsString::from).chain([odd()]).collect::<Vec<_>>());
    assert_eq!(call(&["d", "cp"]), Ok(Invocation::Client(vec!["docker".into(), "cp".into(), odd()])));
    assert_eq!(call(&["d", "run", "--", "sh"]), Ok(Invocation::Job(vec!["sh".into(), odd()])));
    for engine in [&["d"][..], &["d", "dockerd"], &["d", "-g"], &["d", "docker", "-d"], &["d", "plan"]] {
        assert!(call(engine).expect_err("engine").message.contains("UTF-8"), "{engine:?}");
    }
}

#[test]
fn docker_init_is_called_as_dockerd_calls_tini() {
    assert_eq!(of("/sbin/docker-init -- sleep -s"), Invocation::Init(argv("sleep -s")));
    assert_eq!(of("docker-init -s sleep 1"), Invocation::Init(argv("sleep 1")));
    assert_eq!(of("docker-init --version"), Invocation::InitVersion);
    for line in ["docker-init", "docker-init --", "docker-init -p SIGHUP x"] {
        assert!(!parse(&argv(line)).expect_err(line).hint.is_empty());
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(argv in proptest::collection::vec("[a-z/=-]{0,8}", 0..5)) {
        let _ = parse(&argv.into_iter().map(OsString::from).collect::<Vec<_>>());
    }
}
