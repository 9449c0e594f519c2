//! The engine's command line, with the spellings of old Docker translated to today's.

use serde::{Deserialize, Serialize};

use super::argv::{Given, given, without};
use super::variables::CERT_FILE;
use super::{HANDED_OVER, options, removed};
use crate::Problem;
use crate::rules::containerd::Containerd;

/// The engine that the user wants, as it will be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Program name or path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What was translated, one line each.
    pub notices: Vec<String>,
    /// Nobody named an engine, so it gets the listeners of `docker:dind`: the unix socket, and TCP with TLS.
    pub default_listeners: bool,
}

/// The engine's final command line and what its environment gets besides ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCommand {
    /// Path of the program, or its name where it was not found.
    pub program: String,
    /// Its arguments.
    #[serde(serialize_with = "crate::mask::serialize_words")]
    pub args: Vec<String>,
    /// Variables to set.
    #[serde(serialize_with = "crate::mask::serialize_variables")]
    pub env: Vec<(String, String)>,
    /// Whether it takes listening sockets from us (`-H fd://`).
    pub hands_over_sockets: bool,
    /// Settings that gave way to others, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// The containerd to start beside it.
    pub containerd: Option<Containerd>,
    /// Variables that it must not see.
    pub env_without: Vec<String>,
    /// What is dangerous about it.
    pub warnings: Vec<String>,
}

impl EngineCommand {
    /// Of the variables, those without which the programs beside the engine do not work: git, iptables.
    pub fn tools_env(&self) -> impl Iterator<Item = (&str, &str)> {
        const TOOLS: &[&str] = &["PATH", "XTABLES_LIBDIR", "GIT_TEMPLATE_DIR", "GIT_SSL_CAINFO", CERT_FILE];
        self.env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| TOOLS.contains(name))
    }

    /// The arguments without the sockets that we hand over.
    pub fn without_sockets(&self) -> Vec<String> {
        let mut args = self.args.clone();
        if let Some(at) = args.windows(2).position(|pair| pair == ["-H", HANDED_OVER]) {
            args.drain(at..at + 2);
        }
        args
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::with_defaults(&[])
    }
}

impl Engine {
    /// `program` with `args`, exactly, but for the spellings that Docker no longer knows.
    pub fn new(program: &str, args: &[String]) -> Self {
        let (args, notices) = translate(args);
        Self { program: program.to_owned(), args, notices, default_listeners: false }
    }

    /// The engine of an image whose user gave options at most.
    pub fn with_defaults(args: &[String]) -> Self {
        Self { default_listeners: true, ..Self::new("dockerd", args) }
    }

    /// `docker -d …` and `docker daemon …` of old: today's `dockerd` beside that `docker`.
    pub fn from_docker(docker: &str, old: &str, args: &[String]) -> Self {
        let program = match docker.rsplit_once('/') {
            Some((dir, _)) => format!("{dir}/dockerd"),
            None => "dockerd".into(),
        };
        let mut engine = Self::new(&program, &without(&options::split_clusters(args), &["daemon"]));
        engine.notices.insert(0, format!("`{old}` is now `dockerd`"));
        engine
    }

    /// Paths that the program may have, best first: `X.dist` is where images keep the original of a wrapped program.
    pub fn candidates(&self, path: &[String]) -> Vec<String> {
        if self.program.contains('/') {
            return vec![self.program.clone(), format!("{}.dist", self.program)];
        }
        let mut dirs: Vec<&String> = Vec::new();
        for dir in path {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        let plain = dirs.iter().map(|dir| format!("{dir}/{}", self.program));
        let dist = dirs.iter().map(|dir| format!("{dir}/{}.dist", self.program));
        plain.chain(dist).collect()
    }

    /// The value of an option, by its long name; the last one counts.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    /// Takes an option of ours from among dockerd's.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let value = self.option(name)?.to_owned();
        self.args = self.without(&[name]);
        Some(value)
    }

    /// Listeners that the user named.
    pub fn hosts(&self) -> Vec<&str> {
        self.values("host").collect()
    }

    /// All values of an option, by its long name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        given(&self.args)
            .into_iter()
            .filter(move |option| option.name == name)
            .filter_map(|option| option.value)
    }

    /// Whether a switch is given, and on or off; the last one counts.
    pub fn switch(&self, name: &str) -> Option<bool> {
        given(&self.args).iter().rfind(|option| option.name == name).map(Given::is_on)
    }

    /// Whether the engine only prints something and ends: nothing needs to be prepared for that.
    pub fn only_informs(&self) -> bool {
        let informs = |name| matches!(name, "version" | "help" | "validate");
        given(&self.args).iter().any(|option| informs(option.name) && option.is_on())
    }

    /// The arguments without these options.
    pub fn without(&self, names: &[&str]) -> Vec<String> {
        without(&self.args, names)
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
pub(super) fn translate(args: &[String]) -> (Vec<String>, Vec<String>) {
    let args = options::split_clusters(args);
    let mut out = Vec::with_capacity(args.len());
    let mut notices: Vec<String> = Vec::new();
    for given in options::scan(&args) {
        let notice = match (given.name, given.value) {
            ("-g" | "--graph", value) => {
                out.push("--data-root".to_owned());
                out.extend(value.map(str::to_owned));
                format!("`{}` is now `--data-root`", given.name)
            }
            ("-s" | "--storage-driver", Some("overlay")) => {
                out.extend(["--storage-driver", "overlay2"].map(str::to_owned));
                format!("`{} overlay` is now `--storage-driver overlay2`", given.name)
            }
            _ => {
                out.extend_from_slice(given.words);
                continue;
            }
        };
        if !notices.contains(&notice) {
            notices.push(notice);
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
        assert_eq!(engine.option("data-root"), Some("/y"));
    }

    #[test]
    fn other_options_are_left_alone() {
        for words in [
            "-D --label a=-g --storage-driver=vfs",
            "--label -g --label --graph=x",
            "-- -s overlay",
            "-sD overlay",
        ] {
            let engine = Engine::new("dockerd", &args(words));
            assert_eq!(engine.args, args(words));
            assert!(engine.notices.is_empty());
        }
    }

    #[test]
    fn old_spellings_are_known_in_every_form() {
        for words in ["-s overlay", "-s=overlay", "-soverlay", "--storage-driver=overlay"] {
            assert_eq!(
                Engine::new("dockerd", &args(words)).args,
                args("--storage-driver overlay2"),
                "{words}"
            );
        }
        assert_eq!(
            Engine::new("dockerd", &args("-Ds overlay -Dg/x")).args,
            args("-D --storage-driver overlay2 -D --data-root /x")
        );
    }

    #[test]
    fn to_be_a_daemon_need_not_be_said_twice() {
        for words in ["--daemon -D", "-d -D", "-dD", "--daemon=true -D"] {
            assert_eq!(Engine::from_docker("docker", "docker -d", &args(words)).args, args("-D"), "{words}");
        }
    }

    #[test]
    fn switches_are_read_as_dockerd_reads_them() {
        let engine = |words| Engine::new("dockerd", &args(words));
        assert!(engine("-Dv").only_informs() && engine("--validate --config-file /x").only_informs());
        assert!(!engine("--validate=false --label -v -- --help").only_informs());
        assert_eq!(engine("--iptables --iptables=F").switch("iptables"), Some(false));
    }

    #[test]
    fn an_option_without_its_value_is_passed_on_for_dockerd_to_refuse() {
        assert_eq!(Engine::new("dockerd", &args("-g")).args, args("--data-root"));
    }

    #[test]
    fn short_options_may_touch_their_value() {
        for words in ["-G ci", "-Gci", "-G=ci", "--group ci", "--group=ci"] {
            assert_eq!(Engine::new("dockerd", &args(words)).option("group"), Some("ci"), "{words}");
        }
    }
}
