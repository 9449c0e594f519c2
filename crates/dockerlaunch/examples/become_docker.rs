//! A program of your own that prepares the system and becomes Docker: `become_docker dockerd --debug`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some((docker, rest)) = args.split_first() else {
        eprintln!("usage: become_docker DOCKER [ARGUMENTS]");
        return ExitCode::from(2);
    };
    let Err(failure) = dockerlaunch::launch_docker(docker, rest);
    eprintln!("{failure}");
    ExitCode::from(failure.status)
}
