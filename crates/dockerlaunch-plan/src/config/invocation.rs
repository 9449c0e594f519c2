//! What `dockerlaunch` is asked to do: its argument vector, by CONTRACT §2.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::{Engine, duration, nearest};
use crate::RULES;

/// How `plan`, `check` and `facts` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How `report` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For pages.
    Svg,
}

/// What `check` looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How it prints.
    pub output: Output,
    /// Whether it tries what only a try can tell.
    pub probe: bool,
    /// The configuration of another kernel, to be checked instead of this machine.
    pub config: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Prepare the system and start the engine.
    Launch(Engine),
    /// Start the engine, run this command when it is ready, stop, exit with the command's status.
    Job(Vec<OsString>),
    /// Run a program as a client of the engine.
    Client(Vec<OsString>),
    /// Be the init of a container: `docker-init`.
    Init(Vec<OsString>),
    /// Show what a launch would do.
    Plan(Output, Engine),
    /// Show whether Docker can run; the exit status says so too.
    Check(Check, Engine),
    /// Show how long the launch took, and what of it.
    Report(Picture),
    /// Show what was seen.
    Facts,
    /// Tell why each step, or one of them, is there.
    Explain(Option<String>),
    /// Wait until the engine answers, at most this long.
    Ready(Duration),
    /// Wait until the engine may be stopped; a limit of its own.
    Drain(Option<Duration>),
    /// Ask the engine once.
    Healthcheck,
    /// Load kernel modules: `modprobe`.
    Modprobe(Vec<String>),
    /// `git submodule`, in which git itself needs a shell.
    GitSubmodule(Vec<OsString>),
    /// How to use this program.
    Help,
    /// Our version.
    Version,
    /// The version that `docker-init` answers with.
    InitVersion,
}

/// The arguments make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// What is wrong.
    pub message: String,
    /// What to do instead.
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

/// Our own first words, and those that mean an engine.
const OWN_WORDS: &[&str] = &[
    "check",
    "daemon",
    "dockerd",
    "drain",
    "explain",
    "facts",
    "healthcheck",
    "help",
    "plan",
    "ready",
    "report",
    "run",
];

/// First words that mean something here, without being a program's name.
pub fn first_words() -> impl Iterator<Item = &'static str> {
    OWN_WORDS.iter().chain(DOCKER_SUBCOMMANDS).copied()
}

/// How long `ready` waits when it is not told.
const READY: Duration = Duration::from_secs(60);

/// Understands `argv`, the program's name included. Programs that are run as clients or jobs get their arguments as they
/// are; what we read ourselves must be UTF-8.
///
/// # Errors
/// An argument of one of our own words that it does not take.
pub fn parse(argv: &[OsString]) -> Result<Invocation, UsageError> {
    let name = argv.first().map_or("", |a| base_name(a.to_str().unwrap_or_default()));
    let args = argv.get(1..).unwrap_or_default();
    match name {
        "modprobe" => return Ok(Invocation::Modprobe(texts(args)?)),
        "git-submodule" => return Ok(Invocation::GitSubmodule(args.to_vec())),
        "docker-init" => return init(args),
        "docker-entrypoint.sh" => return Ok(parse_client(args)),
        _ => {}
    }
    let Some((first, rest)) = args.split_first() else { return Ok(Invocation::Launch(Engine::default())) };
    match first.to_str().unwrap_or_default() {
        // Under that name all options are dockerd's.
        option if name == "dockerd-entrypoint.sh" && option.starts_with('-') => engine_or_client(args),
        "--help" | "-h" | "help" => Ok(Invocation::Help),
        "--version" => Ok(Invocation::Version),
        "plan" => output_and_engine("plan", rest).map(|(output, engine)| Invocation::Plan(output, engine)),
        "check" => check(rest),
        "report" => report(rest),
        "facts" => no_arguments("facts", rest).map(|()| Invocation::Facts),
        "explain" => explain(rest),
        "healthcheck" => no_arguments("healthcheck", rest).map(|()| Invocation::Healthcheck),
        "ready" => timeout("ready", &texts(rest)?).map(|time| Invocation::Ready(time.unwrap_or(READY))),
        "drain" => timeout("drain", &texts(rest)?).map(Invocation::Drain),
        "run" if rest.first().is_some_and(|a| a == "--") => match &rest[1..] {
            [] => Err(usage("`run --` needs a command", "dockerlaunch run -- docker info")),
            command => Ok(Invocation::Job(command.to_vec())),
        },
        // What follows is no word of ours, whatever it is called.
        "--" if !rest.is_empty() => engine_or_client(rest),
        _ => engine_or_client(args),
    }
}

fn engine_or_client(args: &[OsString]) -> Result<Invocation, UsageError> {
    if args.first().is_some_and(|first| first.is_empty()) {
        return Err(usage("the first argument is empty", "dockerlaunch dockerd --debug"));
    }
    Ok(engine(args)?.map_or_else(|| parse_client(args), Invocation::Launch))
}

/// The engine that these arguments name, if they name one.
fn engine(args: &[OsString]) -> Result<Option<Engine>, UsageError> {
    let Some((first, rest)) = args.split_first() else { return Ok(Some(Engine::default())) };
    // Only to be recognised: what becomes part of the engine's command line is read again below.
    let first = first.to_string_lossy();
    let old = rest.first().and_then(|word| word.to_str());
    Ok(Some(match base_name(&first) {
        name @ ("-d" | "--daemon") => Engine::from_docker("docker", name, &texts(rest)?),
        _ if first.starts_with('-') => Engine::with_defaults(&texts(args)?),
        "daemon" => Engine::from_docker("docker", "docker daemon", &texts(rest)?),
        name if name.starts_with("dockerd") && name != "dockerd-entrypoint.sh" => {
            Engine::new(text(&args[0])?, &texts(rest)?)
        }
        "docker" | "docker.dist" => match old {
            Some(old @ ("-d" | "--daemon" | "daemon")) => {
                Engine::from_docker(text(&args[0])?, &format!("docker {old}"), &texts(&rest[1..])?)
            }
            _ => return Ok(None),
        },
        // `dockerlaunch dockerd-entrypoint.sh …` and `dockerlaunch dockerlaunch …` are ourselves.
        "dockerd-entrypoint.sh" | "dockerlaunch" => return engine(rest),
        _ => return Ok(None),
    }))
}

fn parse_client(args: &[OsString]) -> Invocation {
    let is_for_docker = args.first().is_none_or(|first| {
        let first = first.to_string_lossy();
        first.starts_with('-') || DOCKER_SUBCOMMANDS.contains(&&*first)
    });
    let docker = is_for_docker.then(|| OsString::from("docker"));
    Invocation::Client(docker.into_iter().chain(args.iter().cloned()).collect())
}

/// `docker-init [-s] [--] CMD …`: all that dockerd uses of tini. We are a subreaper (`-s`) in any case.
fn init(args: &[OsString]) -> Result<Invocation, UsageError> {
    let usage = || usage("docker-init needs a command", "docker-init -- CMD …");
    let mut rest = args;
    while let [first, after @ ..] = rest {
        rest = match first.to_str() {
            Some("--version") => return Ok(Invocation::InitVersion),
            Some("-s") => after,
            Some("--") => {
                return if after.is_empty() { Err(usage()) } else { Ok(Invocation::Init(after.to_vec())) };
            }
            Some(option) if option.starts_with('-') => {
                let message = format!("docker-init does not know `{option}`");
                return Err(UsageError { message, hint: "it takes `-s`, `--version` and `--`".into() });
            }
            _ => return Ok(Invocation::Init(rest.to_vec())),
        };
    }
    Err(usage())
}

/// Our own options come before the engine's.
fn check(mut args: &[OsString]) -> Result<Invocation, UsageError> {
    let (mut probe, mut config, mut json) = (true, None, false);
    while let [first, rest @ ..] = args {
        let before = std::mem::replace(&mut args, rest);
        match first.to_str().unwrap_or_default() {
            "--no-probe" => probe = false,
            "--json" => json = true,
            option if option == "--config" || option.starts_with("--config=") => {
                let value = option.strip_prefix("--config=").or_else(|| {
                    let (value, rest) = args.split_first()?;
                    args = rest;
                    value.to_str()
                });
                let example = "dockerlaunch check --config /boot/config-6.12";
                let none = || usage("`--config` needs the file of a kernel's configuration", example);
                config = Some(value.filter(|value| !value.is_empty()).ok_or_else(none)?.to_owned());
            }
            _ => {
                args = before;
                break;
            }
        }
    }
    let (output, engine) = output_and_engine("check", args)?;
    let output = if json { Output::Json } else { output };
    Ok(Invocation::Check(Check { output, probe, config }, engine))
}

fn report(args: &[OsString]) -> Result<Invocation, UsageError> {
    let picture = match args {
        [] => Picture::Text,
        [option] if option == "--json" => Picture::Json,
        [option] if option == "--svg" => Picture::Svg,
        _ => return Err(usage("`report` takes `--json` or `--svg`", "dockerlaunch report --svg")),
    };
    Ok(Invocation::Report(picture))
}

fn output_and_engine(word: &str, args: &[OsString]) -> Result<(Output, Engine), UsageError> {
    let example = format!("dockerlaunch {word} [--json] [dockerd OPTIONS | docker -d OPTIONS]");
    // In front of the engine, or last; anywhere else it may be another option's value.
    let is_json = |arg: Option<&OsString>| arg.is_some_and(|arg| arg == "--json");
    let first = is_json(args.first());
    let last = args.len() > 1 && is_json(args.last());
    let rest = &args[usize::from(first)..args.len() - usize::from(last)];
    // As in a launch: what follows is no word of ours.
    let rest = rest.strip_prefix(&[OsString::from("--")]).filter(|rest| !rest.is_empty()).unwrap_or(rest);
    let is_misspelt = |arg: &&String| *arg != "--json" && nearest(arg, ["--json"].into_iter()).is_some();
    if let Some(arg) = texts(rest)?.iter().find(is_misspelt) {
        return Err(usage(
            &format!("`{word}` does not know `{arg}`"),
            &format!("dockerlaunch {word} --json"),
        ));
    }
    let output = if first || last { Output::Json } else { Output::Text };
    match engine(rest)? {
        Some(engine) => Ok((output, engine)),
        None => {
            let first = rest.first().map_or("".into(), |arg| arg.to_string_lossy());
            Err(usage(&format!("`{first}` is not an engine"), &example))
        }
    }
}

fn explain(args: &[OsString]) -> Result<Invocation, UsageError> {
    let [step] = args else {
        return match args {
            [] => Ok(Invocation::Explain(None)),
            _ => Err(usage("`explain` takes one step at most", "dockerlaunch explain [STEP]")),
        };
    };
    let step = step.to_string_lossy();
    let known = || RULES.iter().map(|rule| rule.id.0);
    if known().any(|id| id == step) {
        return Ok(Invocation::Explain(Some(step.into_owned())));
    }
    let message = format!("there is no step `{step}`");
    Err(match nearest(&step, known()) {
        Some(near) => usage(&message, &format!("dockerlaunch explain {near}")),
        None => usage(&message, "dockerlaunch explain"),
    })
}

fn timeout(word: &str, args: &[String]) -> Result<Option<Duration>, UsageError> {
    let value = match args {
        [] => return Ok(None),
        [option, value] if option == "--timeout" => value.as_str(),
        [option] => option.strip_prefix("--timeout=").unwrap_or(""),
        _ => "",
    };
    duration::parse(value).map(Some).ok_or_else(|| {
        usage(
            &format!(
                "`{word}` takes a time: `--timeout 60s`, `1m30s`, `200ms`, or a whole number of seconds"
            ),
            &format!("dockerlaunch {word} --timeout 60s"),
        )
    })
}

fn no_arguments(word: &str, args: &[OsString]) -> Result<(), UsageError> {
    if args.is_empty() {
        Ok(())
    } else {
        Err(usage(&format!("`{word}` takes no arguments"), &format!("dockerlaunch {word}")))
    }
}

fn usage(message: &str, example: &str) -> UsageError {
    UsageError { message: message.into(), hint: format!("write: `{example}`") }
}

fn text(arg: &OsStr) -> Result<&str, UsageError> {
    arg.to_str().ok_or_else(|| UsageError {
        message: format!("`{}` is not valid UTF-8", arg.to_string_lossy()),
        hint: "options of the engine are in UTF-8: rename the file or directory that it names".into(),
    })
}

fn texts(args: &[OsString]) -> Result<Vec<String>, UsageError> {
    args.iter().map(|arg| text(arg).map(str::to_owned)).collect()
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
