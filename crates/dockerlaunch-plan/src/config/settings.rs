//! The launcher's own settings: every `DOCKERLAUNCH_*` variable, in one table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::environment::is_about_service;
use super::nearest::nearest;
use super::variables::DEBUG;
use crate::Problem;
use crate::supervise::Restart;

/// What the variables ask for; the defaults are those of an empty environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// From the signal to stop until everything under us is ended.
    pub stop_timeout: Option<Duration>,
    /// What SIGTERM is held for.
    pub drain: Option<Drain>,
    /// How long at most.
    pub drain_timeout: Duration,
    /// What follows the end of the engine.
    pub restart: Restart,
    /// What we stop with.
    pub exit_with: Option<ExitWith>,
    /// How long one hook may take.
    pub hook_timeout: Duration,
    /// The group of the unix socket, by name or number.
    pub socket_group: Option<String>,
    /// Its permission bits.
    pub socket_mode: u32,
    /// File for the engine's output.
    pub engine_log: Option<String>,
    /// How our own lines look.
    pub log_format: LogFormat,
    /// Which of them are written.
    pub log_level: LogLevel,
    /// What the data root is put on.
    pub storage: Option<Medium>,
    /// How long another holder of the data root may take to let it go.
    pub lock_timeout: Duration,
    /// Another engine in this network namespace is no obstacle.
    pub ignore_neighbour: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stop_timeout: None,
            drain: None,
            drain_timeout: Duration::from_secs(3600),
            restart: Restart::No,
            exit_with: None,
            hook_timeout: Duration::from_secs(60),
            socket_group: None,
            socket_mode: 0o660,
            engine_log: None,
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            storage: None,
            lock_timeout: Duration::from_secs(15),
            ignore_neighbour: false,
        }
    }
}

/// What the data root is put on, in place of what carries it; with a size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Memory.
    Tmpfs(Option<u64>),
    /// An ext4 in a file.
    Loop(Option<u64>),
    /// This block device, by the ext4 or xfs on it; an empty one gets an ext4.
    Device(String),
}

impl Medium {
    fn parse(text: &str) -> Option<Self> {
        if text.strip_prefix("/dev/").is_some_and(|name| !name.is_empty()) {
            return Some(Self::Device(text.to_owned()));
        }
        let (word, bytes) = match text.split_once(':') {
            Some((word, bytes)) => (word, Some(size(bytes)?)),
            None => (text, None),
        };
        match word {
            "tmpfs" => Some(Self::Tmpfs(bytes)),
            "loop" => Some(Self::Loop(bytes)),
            _ => None,
        }
    }
}

/// `20g`, `512M`, and no less than anything could be kept in.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (16 << 20..1 << 62).contains(&bytes).then_some(bytes)
}

/// A file that somebody else makes or removes to tell us something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSign {
    /// Where.
    pub path: String,
    /// The sign is that it is gone, not that it is there.
    pub gone: bool,
}

/// What SIGTERM is held for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drain {
    /// No container runs.
    ContainersIdle,
    /// A file says so.
    File(FileSign),
    /// This much time has passed.
    Delay(Duration),
}

impl Drain {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "containers-idle" => Some(Self::ContainersIdle),
            Some(("delay", time)) => duration::parse(time).map(Self::Delay),
            _ => FileSign::parse(text).map(Self::File),
        }
    }
}

impl FileSign {
    fn parse(text: &str) -> Option<Self> {
        let (word, path) = text.split_once(':')?;
        let gone = match word {
            "file" => false,
            "file-gone" => true,
            _ => return None,
        };
        path.starts_with('/').then(|| Self { path: path.to_owned(), gone })
    }
}

/// What we stop with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitWith {
    /// A file appears, or one that was there is gone.
    File(FileSign),
    /// A process has ended.
    Pid(i32),
}

impl ExitWith {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("pid:") {
            Some(pid) => pid.parse().ok().filter(|pid| *pid > 0).map(Self::Pid),
            None => FileSign::parse(text).map(Self::File),
        }
    }
}

/// How lines of our own log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Which lines of our own log are written: those of this level and of the more serious ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// It does not work.
    Error,
    /// It works, but not all of it.
    Warn,
    /// One line a decision.
    Info,
    /// Each action and its time.
    Debug,
}

impl LogFormat {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl LogLevel {
    const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == text)
    }

    /// Its word in JSON and in the environment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// One variable.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What may be written, a form each.
    pub forms: &'static [&'static str],
    /// What holds without it.
    pub default: &'static str,
    /// What it is for.
    pub does: &'static str,
    /// Takes the value over, unless it makes no sense.
    set: fn(&mut Settings, &str) -> Option<()>,
}

const TIME: &[&str] = &["8s", "500ms", "1m30s"];

/// Every variable, as `--help` lists them. An empty value is as good as none.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "DOCKERLAUNCH_STOP_TIMEOUT", forms: TIME,
        default: "8s, or what --shutdown-timeout asks for",
        does: "from the signal to stop until everything is ended: containers by force while some of it is left, all else at its end",
        set: |settings, text| { settings.stop_timeout = Some(duration::parse(text)?); Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_DRAIN", forms: &["containers-idle", "file:/path", "file-gone:/path", "delay:30s"],
        default: "stop at once",
        does: "hold SIGTERM until no container runs, the file is there, it is gone, or the time is over; not beside a job",
        set: |settings, text| { settings.drain = Some(Drain::parse(text)?); Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_DRAIN_TIMEOUT", forms: TIME,
        default: "1h",
        does: "hold SIGTERM no longer than this; the time of the stop itself comes after it",
        set: |settings, text| { settings.drain_timeout = duration::parse(text)?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_RESTART", forms: &["no", "on-failure", "on-failure:5", "always"],
        default: "no",
        does: "start an engine that has ended again: after 0.2 s, then twice as long each time, up to 30 s",
        set: |settings, text| { settings.restart = Restart::parse(text)?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_EXIT_WITH", forms: &["file:/path", "file-gone:/path", "pid:17"],
        default: "stay",
        does: "stop when the file appears, when it was there and is gone, or when the process has ended",
        set: |settings, text| { settings.exit_with = Some(ExitWith::parse(text)?); Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_HOOK_TIMEOUT", forms: TIME,
        default: "1m",
        does: "how long each program in /etc/dockerlaunch/pre.d may take",
        set: |settings, text| { settings.hook_timeout = duration::parse(text)?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_SOCKET_GROUP", forms: &["docker", "2375"],
        default: "docker, where there is such a group",
        does: "the group of the unix socket, unless --group names one",
        set: |settings, text| { settings.socket_group = Some(text.to_owned()); Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_SOCKET_MODE", forms: &["0660"],
        default: "0660",
        does: "the mode of the unix socket, in octal",
        set: |settings, text| { settings.socket_mode = mode(text)?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_ENGINE_LOG", forms: &["/path"],
        default: "standard error",
        does: "append the engine's output to this file",
        set: |settings, text| { settings.engine_log = text.starts_with('/').then(|| Some(text.to_owned()))?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_LOG_FORMAT", forms: &["text", "json"],
        default: "text",
        does: "how the launcher's own lines look; the engine's pass through as they are",
        set: |settings, text| { settings.log_format = LogFormat::parse(text)?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_LOG_LEVEL", forms: &["error", "warn", "info", "debug"],
        default: "info",
        does: "info is one line a decision, debug each action; DOCKER_LAUNCH_DEBUG=true is debug too",
        set: |settings, text| { settings.log_level = LogLevel::parse(text)?; Some(()) },
    },
    Setting {
        name: STORAGE, forms: &["tmpfs", "tmpfs:4g", "loop", "loop:20g", "/dev/vda"],
        default: "the data root as it is",
        does: "put the data root on memory, on an ext4 in a file in it, or on a disk, which gets an ext4 where it is empty; `--storage=…` on the command line is the same",
        set: |settings, text| { settings.storage = Some(Medium::parse(text)?); Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_LOCK_TIMEOUT", forms: TIME,
        default: "15s",
        does: "how long to wait for another engine that uses the data root",
        set: |settings, text| { settings.lock_timeout = duration::parse(text)?; Some(()) },
    },
    Setting {
        name: "DOCKERLAUNCH_NEIGHBOUR", forms: &["refuse", "ignore"],
        default: "refuse",
        does: "whether to start beside another Docker in the same network namespace; both then overwrite each other's bridge and firewall",
        set: |settings, text| { settings.ignore_neighbour = match text { "refuse" => false, "ignore" => true, _ => return None }; Some(()) },
    },
];

/// Says what the data root is put on.
pub const STORAGE: &str = "DOCKERLAUNCH_STORAGE";

/// `660`, `0660`, `0o660`.
fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o777)
}

/// All begin with this.
const PREFIX: &str = "DOCKERLAUNCH_";

impl Settings {
    /// What the environment asks for, and what in it makes no sense.
    pub fn parse(env: &BTreeMap<String, String>) -> (Self, Option<Problem>) {
        let mut settings = Self::default();
        let mut mistakes = Vec::new();
        match super::switch(env, DEBUG) {
            Ok(Some(true)) => settings.log_level = LogLevel::Debug,
            Ok(_) => {}
            Err(mistake) => mistakes.push(mistake),
        }
        for (name, value) in env {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            match SETTINGS.iter().find(|setting| setting.name == name) {
                _ if value.is_empty() || is_about_service(rest) => {}
                Some(setting) if (setting.set)(&mut settings, value).is_some() => {}
                Some(setting) => mistakes.push(setting.mistake(value)),
                None => mistakes.push(unknown(name)),
            }
        }
        (settings, joined(mistakes))
    }
}

impl Setting {
    fn mistake(&self, value: &str) -> Problem {
        let forms: Vec<String> = self.forms.iter().map(|form| format!("`{form}`")).collect();
        let problem = Problem::new(format!("`{}={value}` makes no sense", self.name))
            .cause(format!("expected {}", forms.join(", ")));
        let kind = |text: &str| text.split(':').next().map(str::to_owned);
        let same_kind = || self.forms.iter().copied().find(|form| kind(form) == kind(value));
        let meant = nearest(&value.to_lowercase(), self.forms.iter().copied())
            .or_else(same_kind)
            .unwrap_or(self.forms[0]);
        problem.remedy("write, for example", format!("{}={meant}", self.name))
    }
}

fn unknown(name: &str) -> Problem {
    let problem = Problem::new(format!("there is no setting `{name}`"));
    let known = SETTINGS.iter().filter_map(|setting| setting.name.strip_prefix(PREFIX));
    match nearest(name.strip_prefix(PREFIX).unwrap_or(name), known) {
        Some(meant) => problem.remedy("did you mean", format!("{PREFIX}{meant}")),
        None => problem.remedy("see which there are", "dockerlaunch --help"),
    }
}

/// All of them told together: one is seldom alone.
pub(super) fn joined(mistakes: impl IntoIterator<Item = Problem>) -> Option<Problem> {
    let mut mistakes = mistakes.into_iter();
    let first = mistakes.next()?;
    Some(mistakes.fold(first, |all, next| {
        let mut all = all.cause(next.what);
        all.causes.extend(next.causes);
        all.hints.extend(next.hints);
        all
    }))
}

#[cfg(test)]
mod tests;
