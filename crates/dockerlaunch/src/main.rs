//! The launcher's command line.

use std::process::ExitCode;
use std::time::Duration;

use dockerlaunch::plan::config::{Config, Engine, Invocation, Output, parse};
use dockerlaunch::plan::{Plan, render};
use dockerlaunch::{Launch, LaunchFailure, client, engine, sockets};

const HELP: &str = "\
dockerlaunch prepares a system in which nothing is set up, then starts Docker.

  dockerlaunch [DOCKERD OPTIONS]           start the engine
  dockerlaunch dockerd|docker -d|daemon …  start exactly that engine
  dockerlaunch run -- CMD …                start the engine, run CMD when it is ready, exit with its status
  dockerlaunch plan|check [--json] […]     say what would be done, or what is wrong; change nothing
  dockerlaunch facts | explain [STEP]      what was seen; why each step is there
  dockerlaunch ready [--timeout SECONDS]   wait until the engine answers
  dockerlaunch healthcheck                 ask it once
  dockerlaunch ps|info|run IMAGE …         any docker subcommand, or any other program, as a client

Environment: DOCKER_LAUNCH_DEBUG=true tells each action; DOCKER_LAUNCH_REAP=false becomes the engine instead of
supervising it; DOCKER_HOST=unix://… names the socket; DOCKER_IPTABLES_LEGACY chooses the iptables.
";

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(code) = dockerlaunch::run_if_asked(&argv) {
        return code;
    }
    match engine::kernel_arguments() {
        Ok(None) => run(&argv),
        // The kernel panics when its init ends, so the machine ends with it.
        Ok(Some(args)) => {
            let argv: Vec<String> = argv.into_iter().take(1).chain(args).collect();
            let status = run(&argv);
            dockerlaunch::end_machine(status != ExitCode::SUCCESS, None);
        }
        Err(failure) => {
            let text = tell(&failure);
            dockerlaunch::end_machine(true, Some(&text));
        }
    }
}

fn run(argv: &[String]) -> ExitCode {
    match parse(argv) {
        Ok(invocation) => act(invocation),
        Err(error) => {
            eprintln!("error: {error}\n\nhint: write: `{}`", error.hint);
            ExitCode::from(2)
        }
    }
}

/// Tells every problem of a failed launch.
fn tell(failure: &LaunchFailure) -> String {
    let texts: Vec<String> = failure.error.problems.iter().map(render::problem).collect();
    let text = texts.join("\n");
    eprint!("{text}");
    text
}

fn act(invocation: Invocation) -> ExitCode {
    match invocation {
        Invocation::Launch(engine) => launch(engine, None),
        Invocation::Job(command) => launch(Engine::default(), Some(command)),
        Invocation::Client(command) => {
            let (problem, status) = client::exec(&command);
            eprint!("{}", render::problem(&problem));
            ExitCode::from(status)
        }
        Invocation::Plan(output, engine) => {
            let (_, plan) = Launch::new(engine).only_looking().plan();
            print(output, &plan, render::plan);
            ExitCode::SUCCESS
        }
        Invocation::Check(output, engine) => {
            let (_, plan) = Launch::new(engine).only_looking().plan();
            print(output, &plan, render::check);
            ExitCode::from(u8::from(!plan.blockers().is_empty()))
        }
        Invocation::Facts => {
            print!("{}", render::facts(&Launch::new(Engine::default()).plan().0));
            ExitCode::SUCCESS
        }
        Invocation::Explain(step) => match render::explain(step.as_deref()) {
            Some(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            None => {
                eprintln!(
                    "error: there is no step `{}`\n\nhint: list them: `dockerlaunch explain`",
                    step.unwrap_or_default()
                );
                ExitCode::from(2)
            }
        },
        Invocation::Ready(seconds) => {
            let socket = Config::new(Engine::default(), &std::env::vars().collect()).socket;
            match client::ready(&socket, Duration::from_secs(seconds)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(problem) => {
                    eprint!("{}", render::problem(&problem));
                    ExitCode::FAILURE
                }
            }
        }
        Invocation::Healthcheck => {
            let socket = Config::new(Engine::default(), &std::env::vars().collect()).socket;
            match sockets::ping(&socket, Duration::from_secs(4)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: the engine on `{socket}` does not answer: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Invocation::Modprobe(args) => ExitCode::from(dockerlaunch::modprobe(&args)),
        Invocation::Help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Invocation::Version => {
            println!("dockerlaunch {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn print(output: Output, plan: &Plan, text: fn(&Plan) -> String) {
    match output {
        Output::Text => print!("{}", text(plan)),
        // Plain data with string keys: serialising it cannot fail.
        Output::Json => println!("{}", serde_json::to_string_pretty(plan).unwrap_or_default()),
    }
}

fn launch(engine: Engine, job: Option<Vec<String>>) -> ExitCode {
    let launch = Launch::new(engine);
    // The kernel panics when its init goes, so there it always stays.
    let supervise = launch.config().supervise || job.is_some() || engine::is_kernel_init();
    let result: Result<i32, LaunchFailure> =
        if supervise { launch.supervise(job) } else { launch.exec().map(|never| match never {}) };
    match result {
        Ok(status) => {
            if engine::is_kernel_init() {
                eprintln!("dockerlaunch: ended with status {status}");
            }
            ExitCode::from(u8::try_from(status).unwrap_or(1))
        }
        Err(failure) => {
            let text = tell(&failure);
            if failure.is_kernel_init {
                dockerlaunch::end_machine(true, Some(&text));
            }
            ExitCode::from(failure.status)
        }
    }
}
