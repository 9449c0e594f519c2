//! Prepares a system in which nothing is set up, then starts Docker.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Mounts, cgroups, directories, limits, network; then this process becomes the engine.
//! dockerlaunch::launch_docker("/usr/bin/dockerd", &["--debug"])?;
//! # Ok(())
//! # }
//! ```
//!
//! What will be done is decided in [`dockerlaunch_plan`]; here it is looked up ([`probe`]) and done ([`apply`]).

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod apply;
mod atomic;
mod cert;
mod cgroup;
pub mod check;
pub mod client;
mod companion;
mod disk;
pub mod drain;
pub mod end;
pub mod engine;
mod failure;
mod handoff;
mod hooks;
pub mod init;
mod lines;
mod listener;
mod lock;
mod module;
mod mount;
mod names;
mod netlink;
mod output;
mod peer;
pub mod pid1;
mod power;
mod preload;
pub mod probe;
mod question;
pub mod say;
pub mod signals;
pub mod sockets;
mod submodule;
mod sys;
pub mod timeline;

use std::convert::Infallible;
use std::ffi::OsString;

pub use dockerlaunch_plan as plan;
pub use engine::Launch;
pub use failure::LaunchFailure;
pub use handoff::run_if_asked;
pub use module::modprobe;
pub use power::end_machine;
pub use submodule::git_submodule;
pub use sys::join_session_keyring;

/// Prepares the system and replaces this process by the engine. Returns only when that failed.
///
/// `docker` is a path or name: `dockerd`, or with the first argument `-d` or `daemon` the `docker` of old.
///
/// # Errors
/// What stops the launch, each problem with its remedy; or that the engine could not be executed.
pub fn launch_docker(docker: &str, args: &[&str]) -> Result<Infallible, LaunchFailure> {
    let argv: Vec<OsString> = ["dockerlaunch", docker].iter().chain(args).map(OsString::from).collect();
    match plan::config::parse(&argv) {
        Ok(plan::config::Invocation::Launch(engine)) => Launch::new(engine).exec(),
        Ok(_) | Err(_) => {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            Launch::new(plan::config::Engine::new(docker, &args)).exec()
        }
    }
}
