//! What `dockerlaunch` is asked to do: its argument vector, by CONTRACT §2.

use super::Engine;

/// How `plan`, `check` and `facts` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Prepare the system and start the engine.
    Launch(Engine),
    /// Start the engine, run this command when it is ready, stop, exit with the command's status.
    Job(Vec<String>),
    /// Run a program as a client of the engine.
    Client(Vec<String>),
    /// Show what a launch would do.
    Plan(Output, Engine),
    /// Show what is wrong; the exit status says whether something is.
    Check(Output, Engine),
    /// Show what was seen.
    Facts,
    /// Tell why each step, or one of them, is there.
    Explain(Option<String>),
    /// Wait until the engine answers, at most this many seconds.
    Ready(u64),
    /// Ask the engine once.
    Healthcheck,
    /// Load kernel modules: `modprobe`.
    Modprobe(Vec<String>),
    /// How to use this program.
    Help,
    /// Our version.
    Version,
}

/// The arguments make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// Subcommands of the docker client; a first word among them goes to `docker`.
const DOCKER_SUBCOMMANDS: &[&str] = &[
    "attach",
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "commit",
    "compose",
    "config",
    "container",
    "context",
    "cp",
    "create",
    "diff",
    "events",
    "exec",
    "export",
    "history",
    "image",
    "images",
    "import",
    "info",
    "inspect",
    "kill",
    "load",
    "login",
    "logout",
    "logs",
    "manifest",
    "network",
    "node",
    "pause",
    "plugin",
    "port",
    "ps",
    "pull",
    "push",
    "rename",
    "restart",
    "rm",
    "rmi",
    "run",
    "save",
    "search",
    "secret",
    "service",
    "stack",
    "start",
    "stats",
    "stop",
    "swarm",
    "system",
    "tag",
    "top",
    "trust",
    "unpause",
    "update",
    "version",
    "volume",
    "wait",
];

/// Seconds that `ready` waits when it is not told.
const READY_SECONDS: u64 = 60;

/// Understands `argv`, the program's name included.
///
/// # Errors
/// An argument of one of our own words that it does not take.
pub fn parse(argv: &[String]) -> Result<Invocation, UsageError> {
    let name = argv.first().map_or("", |a| base_name(a));
    let args = argv.get(1..).unwrap_or_default();
    match name {
        "modprobe" => return Ok(Invocation::Modprobe(args.to_vec())),
        "docker-entrypoint.sh" => return Ok(parse_client(args)),
        _ => {}
    }
    let Some(first) = args.first() else { return Ok(Invocation::Launch(Engine::default())) };
    let rest = &args[1..];
    match first.as_str() {
        "--help" | "-h" | "help" => Ok(Invocation::Help),
        "--version" => Ok(Invocation::Version),
        "plan" => output_and_engine(rest).map(|(output, engine)| Invocation::Plan(output, engine)),
        "check" => output_and_engine(rest).map(|(output, engine)| Invocation::Check(output, engine)),
        "facts" => no_arguments("facts", rest).map(|()| Invocation::Facts),
        "explain" => match rest {
            [] => Ok(Invocation::Explain(None)),
            [step] => Ok(Invocation::Explain(Some(step.clone()))),
            _ => Err(usage("`explain` takes one step at most", "dockerlaunch explain [STEP]")),
        },
        "healthcheck" => no_arguments("healthcheck", rest).map(|()| Invocation::Healthcheck),
        "ready" => ready(rest),
        "run" if rest.first().is_some_and(|a| a == "--") => match &rest[1..] {
            [] => Err(usage("`run --` needs a command", "dockerlaunch run -- docker info")),
            command => Ok(Invocation::Job(command.to_vec())),
        },
        _ => Ok(engine(args).map_or_else(|| parse_client(args), Invocation::Launch)),
    }
}

/// The engine that these arguments name, if they name one.
fn engine(args: &[String]) -> Option<Engine> {
    let Some(first) = args.first() else { return Some(Engine::default()) };
    let rest = &args[1..];
    if first.starts_with('-') && !matches!(first.as_str(), "-d" | "--daemon") {
        return Some(Engine::new("dockerd", args));
    }
    match (base_name(first), rest.first().map(String::as_str)) {
        ("-d" | "--daemon", _) => Some(Engine::from_docker("docker", first, rest)),
        ("daemon", _) => Some(Engine::from_docker("docker", "docker daemon", rest)),
        (name, _) if name.starts_with("dockerd") && name != "dockerd-entrypoint.sh" => {
            Some(Engine::new(first, rest))
        }
        ("docker" | "docker.dist", Some(old @ ("-d" | "--daemon" | "daemon"))) => {
            Some(Engine::from_docker(first, &format!("docker {old}"), &rest[1..]))
        }
        // `dockerlaunch dockerd-entrypoint.sh …` and `dockerlaunch dockerlaunch …` are ourselves.
        ("dockerd-entrypoint.sh" | "dockerlaunch", _) => engine(rest),
        _ => None,
    }
}

fn parse_client(args: &[String]) -> Invocation {
    match args.first() {
        None => Invocation::Client(vec!["docker".into()]),
        Some(first) if first.starts_with('-') || DOCKER_SUBCOMMANDS.contains(&first.as_str()) => {
            Invocation::Client(std::iter::once("docker".to_owned()).chain(args.iter().cloned()).collect())
        }
        Some(_) => Invocation::Client(args.to_vec()),
    }
}

fn output_and_engine(args: &[String]) -> Result<(Output, Engine), UsageError> {
    let json = args.first().is_some_and(|a| a == "--json");
    let rest = &args[usize::from(json)..];
    let output = if json { Output::Json } else { Output::Text };
    match engine(rest) {
        Some(engine) => Ok((output, engine)),
        None => Err(usage(
            &format!("`{}` is not an engine", rest.first().map_or("", String::as_str)),
            "dockerlaunch plan [--json] [dockerd OPTIONS | docker -d OPTIONS]",
        )),
    }
}

fn ready(args: &[String]) -> Result<Invocation, UsageError> {
    let value = match args {
        [] => return Ok(Invocation::Ready(READY_SECONDS)),
        [option, value] if option == "--timeout" => value.as_str(),
        [option] => option.strip_prefix("--timeout=").unwrap_or(""),
        _ => "",
    };
    let seconds = value.strip_suffix('s').unwrap_or(value).parse();
    seconds
        .map(Invocation::Ready)
        .map_err(|_| usage("`ready` takes a number of seconds", "dockerlaunch ready --timeout 60"))
}

fn no_arguments(word: &str, args: &[String]) -> Result<(), UsageError> {
    if args.is_empty() {
        Ok(())
    } else {
        Err(usage(&format!("`{word}` takes no arguments"), &format!("dockerlaunch {word}")))
    }
}

fn usage(message: &str, hint: &str) -> UsageError {
    UsageError { message: message.into(), hint: hint.into() }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Invocation {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&argv).expect(line)
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
    }

    #[test]
    fn clients_and_our_own_words() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of("dockerlaunch ps -a"), Invocation::Client(words("docker ps -a")));
        assert_eq!(of("dockerlaunch docker ps"), Invocation::Client(words("docker ps")));
        assert_eq!(of("dockerlaunch run --rm x"), Invocation::Client(words("docker run --rm x")));
        assert_eq!(of("dockerlaunch run -- make test"), Invocation::Job(words("make test")));
        assert_eq!(of("dockerlaunch /bin/sh -c true"), Invocation::Client(words("/bin/sh -c true")));
        assert_eq!(of("docker-entrypoint.sh info"), Invocation::Client(words("docker info")));
        assert_eq!(of("/sbin/modprobe -va br_netfilter"), Invocation::Modprobe(words("-va br_netfilter")));
        assert_eq!(of("dockerlaunch ready --timeout 5"), Invocation::Ready(5));
        assert!(matches!(of("dockerlaunch plan --json docker -d"), Invocation::Plan(Output::Json, _)));
    }

    #[test]
    fn nonsense_is_a_usage_error_with_a_hint() {
        for line in ["d facts x", "d ready soon", "d run --", "d plan ls", "d explain a b"] {
            let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert!(!parse(&argv).expect_err(line).hint.is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(argv in proptest::collection::vec("[a-z/=-]{0,8}", 0..5)) {
            let _ = parse(&argv);
        }
    }
}
