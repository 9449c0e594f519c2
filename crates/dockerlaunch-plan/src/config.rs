//! What the user asked for: the engine's command line and the environment, already parsed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Problem;

pub mod argv;
pub mod client;
pub mod duration;
mod engine;
mod env_flags;
mod environment;
mod host;
mod invocation;
pub(crate) mod join;
mod listen;
mod nearest;
mod options;
mod proxy;
mod removed;
pub mod settings;
pub mod tls;
mod values;
pub mod variables;

pub use engine::{Engine, EngineCommand};
pub use environment::{Environment, Setting};
pub use host::{HANDED_OVER, Host};
pub use invocation::{Check, Invocation, Output, Picture, UsageError, first_words, parse};
pub use nearest::nearest;
pub use settings::Settings;
pub use tls::Tls;

/// `PATH` where the environment has none, as when the kernel starts us.
pub const DEFAULT_PATH: &str =
    "/usr/lib/dockerlaunch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where clients look for the engine.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The engine to start.
    pub engine: Engine,
    /// Directories of `PATH`, in order.
    pub path: Vec<String>,
    /// Listening sockets that our starter handed over (sd_listen_fds(3)).
    pub inherited_sockets: usize,
    /// Where we listen: `DOCKER_HOST` when it is `unix://`, else [`DEFAULT_SOCKET`].
    pub socket: String,
    /// TLS for TCP listeners.
    pub tls: Tls,
    /// `DOCKER_IPTABLES_LEGACY`: set, set and empty, or unset.
    pub iptables_legacy: Option<bool>,
    /// What the environment sets for the engine.
    pub environment: Environment,
    /// `DOCKER_LAUNCH_REAP`: stay, forward signals and reap (the default), or become the engine.
    pub supervise: bool,
    /// `plan` and `check`: nothing will be started, so an engine that runs already is no obstacle.
    pub only_looking: bool,
    /// `check --no-probe`: facts that only a try can tell stay unknown.
    pub only_reading: bool,
    /// The user's hooks have run already.
    pub hooks_have_run: bool,
    /// `DOCKERLAUNCH_*`: our own settings.
    pub settings: Settings,
    /// Kubernetes started us: remedies are lines of a pod's spec.
    pub in_pod: bool,
    /// What in them, and in `DOCKER_HOST`, makes no sense.
    pub mistakes: Option<Problem>,
}

impl Config {
    /// The configuration for this engine in this environment.
    pub fn new(mut engine: Engine, env: &BTreeMap<String, String>) -> Self {
        // The one option of ours among dockerd's: what it says is what the variable would.
        let with_option = engine.take("storage").map(|value| {
            let mut env = env.clone();
            env.insert(settings::STORAGE.to_owned(), value);
            env
        });
        let env = with_option.as_ref().unwrap_or(env);
        let get = |name: &str| env.get(name).map(String::as_str);
        let (settings, mistakes) = Settings::parse(env);
        let (socket, mistake) = listen::read(env);
        let reap = switch(env, variables::REAP);
        Self {
            engine,
            path: directories(get("PATH").unwrap_or_default()),
            inherited_sockets: get("LISTEN_FDS").and_then(|n| n.parse().ok()).unwrap_or(0),
            socket,
            tls: Tls::read(get(variables::CERTDIR), get(variables::SAN)),
            iptables_legacy: get(variables::IPTABLES_LEGACY).map(|value| !value.is_empty()),
            environment: Environment::read(env),
            supervise: reap.as_ref().ok().copied().flatten().unwrap_or(true),
            only_looking: false,
            only_reading: false,
            hooks_have_run: false,
            settings,
            in_pod: env.contains_key("KUBERNETES_SERVICE_HOST"),
            mistakes: settings::joined(mistakes.into_iter().chain(mistake).chain(reap.err())),
        }
    }
}

/// The directories of a `PATH`. Relative and empty ones, which mean the current directory, are left out: dockerd does not
/// start what it finds there either (Go os/exec, `ErrDot`).
fn directories(path: &str) -> Vec<String> {
    let absolute = |path: &str| -> Vec<String> {
        path.split(':').filter(|dir| dir.starts_with('/')).map(str::to_owned).collect()
    };
    let found = absolute(path);
    if found.is_empty() { absolute(DEFAULT_PATH) } else { found }
}

/// A switch among our own variables. An empty one is as good as none.
fn switch(env: &BTreeMap<String, String>, name: &str) -> Result<Option<bool>, Problem> {
    let Some(value) = env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let nearest = || nearest(&value.to_ascii_lowercase(), ["true", "false"].into_iter()).unwrap_or("true");
    values::switch(value).map(Some).ok_or_else(|| environment::bad(name, value, "true or false", nearest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(env: &[(&str, &str)]) -> Config {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::new(Engine::default(), &env)
    }

    #[test]
    fn an_empty_environment_has_working_defaults() {
        let config = config(&[]);
        assert_eq!(config.path[0], "/usr/lib/dockerlaunch/bin");
        assert_eq!(config.socket, DEFAULT_SOCKET);
        assert!(config.supervise);
        assert_eq!((config.settings, config.mistakes), (Settings::default(), None));
        assert_eq!(config.iptables_legacy, None);
    }

    #[test]
    fn the_seeds_variables_keep_their_meaning() {
        let config = config(&[("DOCKER_LAUNCH_DEBUG", "true"), ("DOCKER_LAUNCH_REAP", "false")]);
        assert!(config.settings.log_level == settings::LogLevel::Debug && !config.supervise);
    }

    #[test]
    fn switches_are_understood_or_refused_with_the_nearest_word() {
        for name in [variables::REAP, variables::DEBUG] {
            for value in ["true", "1", "Yes", "on", "false", "0", "no", "off", "", " "] {
                assert_eq!(config(&[(name, value)]).mistakes, None, "{name}={value}");
            }
            for (value, meant) in [("flase", "false"), ("treu", "true"), ("maybe", "true")] {
                let problem = config(&[(name, value)]).mistakes.expect(value);
                assert!(problem.what.contains(name) && problem.what.contains(value), "{problem}");
                assert_eq!(problem.hints[0].command, Some(format!("{name}={meant}")));
            }
        }
        assert!(config(&[(variables::REAP, "")]).supervise && !config(&[(variables::REAP, "off")]).supervise);
        let both = config(&[(variables::REAP, "flase"), (variables::DEBUG, "treu")]).mistakes.expect("two");
        assert_eq!(both.hints.len(), 2);
    }

    #[test]
    fn programs_are_looked_up_by_absolute_paths_alone() {
        assert_eq!(config(&[("PATH", ":/a::bin:.:/b/:")]).path, ["/a", "/b/"]);
        for nothing in ["", ":", ".:bin"] {
            assert_eq!(config(&[("PATH", nothing)]).path, config(&[]).path, "{nothing}");
        }
    }

    #[test]
    fn iptables_legacy_has_three_states() {
        assert_eq!(config(&[("DOCKER_IPTABLES_LEGACY", "")]).iptables_legacy, Some(false));
        assert_eq!(config(&[("DOCKER_IPTABLES_LEGACY", "1")]).iptables_legacy, Some(true));
    }
}
