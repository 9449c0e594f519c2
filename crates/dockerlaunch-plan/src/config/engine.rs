//! The engine's command line, with the spellings of old Docker translated to today's.

use serde::{Deserialize, Serialize};

use super::removed;
use crate::Problem;

/// The engine that the user wants, as it will be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Program name or path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What was translated, one line each.
    pub notices: Vec<String>,
}

/// The engine's final command line and what its environment gets besides ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCommand {
    /// Path of the program, or its name where it was not found.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// Whether it takes listening sockets from us (`-H fd://`).
    pub hands_over_sockets: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self { program: "dockerd".into(), args: Vec::new(), notices: Vec::new() }
    }
}

impl Engine {
    /// `program` with `args`, exactly, but for the spellings that Docker no longer knows.
    pub fn new(program: &str, args: &[String]) -> Self {
        let (args, notices) = translate(args);
        Self { program: program.to_owned(), args, notices }
    }

    /// `docker -d …` and `docker daemon …` of old: today's `dockerd` beside that `docker`.
    pub fn from_docker(docker: &str, old: &str, args: &[String]) -> Self {
        let program = match docker.rsplit_once('/') {
            Some((dir, _)) => format!("{dir}/dockerd"),
            None => "dockerd".into(),
        };
        let mut engine = Self::new(&program, args);
        engine.notices.insert(0, format!("`{old}` is now `dockerd`"));
        engine
    }

    /// Paths that the program may have, best first: `X.dist` is where images keep the original of a wrapped program.
    pub fn candidates(&self, path: &[String]) -> Vec<String> {
        if self.program.contains('/') {
            return vec![self.program.clone(), format!("{}.dist", self.program)];
        }
        let plain = path.iter().map(|dir| format!("{dir}/{}", self.program));
        let dist = path.iter().map(|dir| format!("{dir}/{}.dist", self.program));
        plain.chain(dist).collect()
    }

    /// The value of an option given as `--name value`, `--name=value` or `-n value`; the last one counts.
    pub fn option(&self, long: &str, short: Option<&str>) -> Option<&str> {
        let mut found = None;
        let mut args = self.args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            if arg == long || short.is_some_and(|s| arg == s) {
                found = args.next().or(found);
            } else if let Some(value) = arg.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
                found = Some(value);
            } else if let Some(value) =
                short.filter(|_| !arg.starts_with("--")).and_then(|s| arg.strip_prefix(s))
            {
                found = Some(value.trim_start_matches('='));
            }
        }
        found
    }

    /// Listeners that the user named.
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts = Vec::new();
        let mut args = self.args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            if arg == "-H" || arg == "--host" {
                hosts.extend(args.next());
            } else if let Some(value) = arg.strip_prefix("--host=").or_else(|| arg.strip_prefix("-H")) {
                hosts.push(value.trim_start_matches('='));
            }
        }
        hosts
    }

    /// Whether TLS is asked for on the command line; dockerd then speaks it on handed-over sockets too.
    pub fn asks_for_tls(&self) -> bool {
        let on = |a: &String| a.starts_with("--tls") && !a.ends_with("=false") && !a.ends_with("=0");
        self.args.iter().any(on)
    }

    /// Whether the engine only prints something and ends: nothing needs to be prepared for that.
    pub fn only_informs(&self) -> bool {
        self.args.iter().any(|a| matches!(a.as_str(), "--version" | "-v" | "--help" | "-h" | "--validate"))
    }

    /// What to tell when the engine has failed with an option that only older ones know.
    pub fn suspect_option(&self) -> Option<Problem> {
        removed::find_later(&self.args)
    }

    /// The problem to tell when an option or storage driver is one that Docker no longer knows.
    pub fn removed_option(&self) -> Option<Problem> {
        removed::find(&self.args)
    }
}

/// Rewrites options that only changed their name.
fn translate(args: &[String]) -> (Vec<String>, Vec<String>) {
    let mut out = Vec::with_capacity(args.len());
    let mut notices = Vec::new();
    let rename = |notices: &mut Vec<String>, old: &str, new: &str| {
        let line = format!("`{old}` is now `{new}`");
        if !notices.contains(&line) {
            notices.push(line);
        }
    };
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value)),
            _ => (arg, None),
        };
        match name {
            "-g" | "--graph" => {
                rename(&mut notices, name, "--data-root");
                out.extend(["--data-root".to_owned()]);
                out.extend(value.or_else(|| args.next()).map(str::to_owned));
            }
            "-s" | "--storage-driver" => {
                let driver = value.or_else(|| args.next());
                if driver == Some("overlay") {
                    rename(&mut notices, &format!("{name} overlay"), "--storage-driver overlay2");
                }
                out.push("--storage-driver".to_owned());
                out.extend(driver.map(|d| if d == "overlay" { "overlay2" } else { d }.to_owned()));
            }
            _ => out.push(arg.to_owned()),
        }
    }
    (out, notices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn old_spellings_become_todays() {
        let engine =
            Engine::from_docker("/usr/bin/docker", "docker -d", &args("-s overlay -g /x --graph=/y"));
        assert_eq!(engine.program, "/usr/bin/dockerd");
        assert_eq!(engine.args, args("--storage-driver overlay2 --data-root /x --data-root /y"));
        assert_eq!(engine.notices.len(), 4);
        assert_eq!(engine.option("--data-root", None), Some("/y"));
    }

    #[test]
    fn other_options_are_left_alone() {
        let engine = Engine::new("dockerd", &args("-D --label a=-g --storage-driver=vfs"));
        assert_eq!(engine.args, args("-D --label a=-g --storage-driver vfs"));
        assert!(engine.notices.is_empty());
    }

    #[test]
    fn an_option_without_its_value_is_passed_on_for_dockerd_to_refuse() {
        assert_eq!(Engine::new("dockerd", &args("-g")).args, args("--data-root"));
    }

    #[test]
    fn listeners_are_seen_in_every_spelling() {
        for words in ["-H unix:///x", "--host unix:///x", "--host=unix:///x", "-Hunix:///x", "-H=unix:///x"] {
            assert_eq!(Engine::new("dockerd", &args(words)).hosts(), ["unix:///x"], "{words}");
        }
        assert!(Engine::new("dockerd", &args("--hosts-file x -D")).hosts().is_empty());
    }

    #[test]
    fn short_options_may_touch_their_value() {
        for words in ["-G ci", "-Gci", "-G=ci", "--group ci", "--group=ci"] {
            assert_eq!(
                Engine::new("dockerd", &args(words)).option("--group", Some("-G")),
                Some("ci"),
                "{words}"
            );
        }
    }
}
