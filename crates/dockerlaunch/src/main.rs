//! The launcher's command line.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use dockerlaunch::check::check_file;
use dockerlaunch::plan::config::settings::{Drain, SETTINGS};
use dockerlaunch::plan::config::{
    Check, DEFAULT_SOCKET, Engine, Invocation, Output, Picture, Settings, parse,
};
use dockerlaunch::plan::{Problem, render};
use dockerlaunch::{Launch, LaunchFailure, client, drain, engine, say, signals, sockets};

const HELP: &str = "\
dockerlaunch prepares a system in which nothing is set up, then starts Docker.

  dockerlaunch [DOCKERD OPTIONS]           start the engine
  dockerlaunch dockerd|docker -d|daemon …  start exactly that engine
  dockerlaunch run -- CMD …                start the engine, run CMD when it is ready, exit with its status
  dockerlaunch plan [--json] […]           say what would be done; change nothing
  dockerlaunch check [--no-probe] [--json] [--config FILE] […]
                                           say whether Docker can run here, or with the kernel of this configuration
  dockerlaunch report [--json|--svg]       show how long the launch took, and what of it
  dockerlaunch facts | explain [STEP]      what was seen; why each step is there
  dockerlaunch ready [--timeout TIME]      wait until the engine answers
  dockerlaunch healthcheck                 ask it once
  dockerlaunch drain [--timeout TIME]      wait until the engine may be stopped, as DOCKERLAUNCH_DRAIN says
  dockerlaunch ps|info|run IMAGE …         any docker subcommand, or any other program, as a client

Environment: DOCKER_LAUNCH_DEBUG=true tells each action; DOCKER_LAUNCH_REAP=false becomes the engine instead of
supervising it; DOCKER_HOST=unix://… names the socket; DOCKER_IPTABLES_LEGACY chooses the iptables; DOCKERD_MTU=1450,
DOCKERD_REGISTRY_MIRROR=a,b and so on set any option of dockerd; DOCKERD_CONFIG_JSON is merged with daemon.json;
DOCKER_EXTRA_CA names certificates to trust. And these:
";

fn help() -> String {
    let setting = |s: &dockerlaunch::plan::config::settings::Setting| {
        format!("\n  {}={}\n      {}; default: {}\n", s.name, s.forms.join("|"), s.does, s.default)
    };
    HELP.to_owned() + &SETTINGS.iter().map(setting).collect::<String>()
}

fn main() -> ExitCode {
    signals::keep_as_pid1();
    say::configure(&environment().0);
    let argv: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = dockerlaunch::run_if_asked(&argv) {
        return code;
    }
    match engine::kernel_arguments() {
        Ok(None) => ExitCode::from(run(&argv)),
        // The kernel panics when its init ends, so the machine ends with it.
        Ok(Some(args)) => {
            let argv: Vec<_> = argv.into_iter().take(1).chain(args.into_iter().map(OsString::from)).collect();
            dockerlaunch::end_machine(run(&argv), None);
        }
        Err(failure) => {
            let text = tell(&failure);
            dockerlaunch::end_machine(failure.status, Some(&text));
        }
    }
}

/// Our settings, and what in them makes no sense.
fn environment() -> (Settings, Option<Problem>) {
    let text = |(name, value): (OsString, OsString)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    };
    Settings::parse(&std::env::vars_os().map(text).collect())
}

fn run(argv: &[OsString]) -> u8 {
    match parse(argv) {
        Ok(invocation) => act(invocation),
        Err(error) => {
            say::problem(&Problem::new(error.to_string()).hint(&error.hint));
            2
        }
    }
}

/// Tells every problem of a failed launch.
fn tell(failure: &LaunchFailure) -> String {
    let problems = &failure.error.problems;
    say::problems(problems);
    problems.iter().map(render::problem).collect::<Vec<_>>().join("\n")
}

fn act(invocation: Invocation) -> u8 {
    match invocation {
        Invocation::Launch(engine) => launch(engine, None),
        Invocation::Job(command) => launch(Engine::default(), Some(command)),
        Invocation::Client(command) => {
            // The kernel's init must not become a program that ends.
            if engine::is_kernel_init() {
                return client::run(&command);
            }
            let (problem, status) = client::exec(&command);
            say::problem(&problem);
            status
        }
        Invocation::Plan(output, engine) => {
            let (_, plan) = Launch::new(engine).only_looking().plan();
            print(output, || render::plan(&plan), || render::json(&plan));
            0
        }
        Invocation::Check(asked, engine) => check(&asked, engine),
        Invocation::Report(picture) => report(picture),
        Invocation::Facts => {
            say::data(&render::facts(&Launch::new(Engine::default()).plan().0));
            0
        }
        Invocation::Explain(step) => {
            say::data(&render::explain(step.as_deref()));
            0
        }
        Invocation::Ready(limit) => done(client::ready(&socket(), limit)),
        Invocation::Drain(limit) => drain(limit),
        Invocation::Healthcheck => done(client::healthcheck(&socket())),
        Invocation::Modprobe(args) => dockerlaunch::modprobe(&args),
        Invocation::GitSubmodule(args) => dockerlaunch::git_submodule(&args),
        Invocation::Help => {
            say::data(&help());
            0
        }
        Invocation::Version => {
            say::data(concat!("dockerlaunch ", env!("CARGO_PKG_VERSION"), "\n"));
            0
        }
        Invocation::Init(command) => init(&command),
        Invocation::InitVersion => {
            // dockerd takes it apart (moby daemon/info_unix.go, parseInitVersion).
            say::data("tini version 0.19.0 - git.dockerlaunch\n");
            0
        }
    }
}

fn drain(limit: Option<Duration>) -> u8 {
    let (settings, mistakes) = environment();
    if let Some(problem) = mistakes {
        say::problem(&problem);
        return 2;
    }
    let until = settings.drain.as_ref().unwrap_or(&Drain::ContainersIdle);
    done(drain::wait(until, &socket(), limit.unwrap_or(settings.drain_timeout)))
}

/// The engine's socket: the one that `DOCKER_HOST` names, else the one that its launcher left word of.
fn socket() -> String {
    let named = std::env::var("DOCKER_HOST").ok();
    let named = named.and_then(|host| host.strip_prefix("unix://").map(str::to_owned));
    // A relative one is relative to where the launcher was started, and only it knows.
    named
        .filter(|path| path.starts_with('/'))
        .or_else(sockets::published)
        .unwrap_or_else(|| DEFAULT_SOCKET.to_owned())
}

fn init(command: &[OsString]) -> u8 {
    match dockerlaunch::init::run(command) {
        Ok(status) => u8::try_from(status).unwrap_or(1),
        Err(error) => {
            say::error(&format!("docker-init: {error}\n"));
            1
        }
    }
}

fn done(result: Result<(), Problem>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(problem) => {
            say::problem(&problem);
            1
        }
    }
}

fn print(output: Output, text: impl FnOnce() -> String, json: impl FnOnce() -> String) {
    say::data(&match output {
        Output::Text => text(),
        Output::Json => json(),
    });
}

fn check(asked: &Check, engine: Engine) -> u8 {
    let checked = match &asked.config {
        Some(file) => check_file(file),
        None => {
            let launch = Launch::new(engine);
            let launch = if asked.probe { launch.only_looking() } else { launch.only_reading() };
            let (facts, plan) = launch.check();
            Ok(dockerlaunch::check::check(&facts, Some(&plan), asked.probe))
        }
    };
    match checked {
        Ok(checked) => {
            print(asked.output, || checked.text(), || render::json(&checked));
            u8::from(!checked.ok)
        }
        Err(problem) => {
            say::problem(&problem);
            2
        }
    }
}

fn report(picture: Picture) -> u8 {
    match dockerlaunch::timeline::read() {
        Ok(report) => {
            say::data(&match picture {
                Picture::Text => report.text(),
                Picture::Json => render::json(&report),
                Picture::Svg => report.svg(),
            });
            0
        }
        Err(problem) => done(Err(problem)),
    }
}

fn launch(engine: Engine, job: Option<Vec<OsString>>) -> u8 {
    let launch = Launch::new(engine);
    // The kernel panics when its init goes, so there it always stays.
    let supervise = launch.config().supervise || job.is_some() || engine::is_kernel_init();
    let result: Result<i32, LaunchFailure> =
        if supervise { launch.supervise(job) } else { launch.exec().map(|never| match never {}) };
    match result {
        Ok(status) => {
            if engine::is_kernel_init() {
                say::info(&format!("ended with status {status}"));
            }
            u8::try_from(status).unwrap_or(1)
        }
        Err(failure) => {
            let text = tell(&failure);
            if failure.is_kernel_init {
                dockerlaunch::end_machine(failure.status, Some(&text));
            }
            failure.status
        }
    }
}
