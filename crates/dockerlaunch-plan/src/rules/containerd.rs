//! A containerd of our own beside the engine. dockerd starts one as well, but only when it has started itself, with plugins
//! that nobody here needs; and since it looks after that one once a second, each stop takes two (moby,
//! libcontainerd/supervisor, `stopDaemon`). What is given by `--containerd` it leaves alone.

use serde::{Deserialize, Serialize};

use crate::facts::{Facts, PRIVATE};
use crate::{Action, Config, Verdict};

use super::engine::{data_root, exec_root};

/// Its configuration.
pub const CONFIG: &str = "/run/dockerlaunch/containerd.toml";

/// The system's own: dockerd takes what is there, unless it is told of another (moby cmd/dockerd/daemon.go,
/// `systemContainerdRunning`).
pub const OF_THE_SYSTEM: &str = "/run/containerd/containerd.sock";

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containerd {
    /// The program.
    pub program: String,
    /// Where it listens; an old socket there must be gone before it starts, since dockerd waits for one to appear.
    pub socket: String,
}

/// Plugins that take time and memory at each start, and that no feature of dockerd uses.
const NOT_NEEDED: &[&str] = &[
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox",
    "io.containerd.grpc.v1.sandbox-controllers",
    "io.containerd.nri.v1.nri",
    "io.containerd.monitor.container.v1.restart",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.differ.v1.erofs",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.ttrpc.v1.otelttrpc",
];

/// Ours, unless the user has another one, wants CRI, or we do not stay to look after it.
pub fn own(config: &Config, facts: &Facts) -> Option<Containerd> {
    let (engine, file) = (&config.engine, &facts.daemon_json);
    let program = format!("{PRIVATE}/bin/containerd");
    let is_given =
        engine.option("containerd").is_some() || file.containerd.is_some() || facts.exists(OF_THE_SYSTEM);
    let wants_cri = engine.switch("cri-containerd").or(file.cri_containerd).unwrap_or(false);
    let [root, state] = [data_root(config, file), exec_root(config, file)];
    // What a relative path is relative to, dockerd knows.
    let is_absolute = root.starts_with('/') && state.starts_with('/');
    let is_ours = config.supervise && !engine.only_informs() && !is_given && !wants_cri && is_absolute;
    (is_ours && facts.exists(&program))
        .then(|| Containerd { program, socket: format!("{state}/containerd/containerd.sock") })
}

/// As dockerd would write it, less what is not needed: the same directories, so that each finds what the other left.
fn content(config: &Config, facts: &Facts, own: &Containerd) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (engine, file) = (&config.engine, &facts.daemon_json);
    let level = match engine.option("log-level").or(file.log_level.as_deref()) {
        _ if engine.switch("debug").or(file.debug) == Some(true) => "debug",
        Some(level) => level,
        None => "info",
    };
    let format = engine.option("log-format").or(file.log_format.as_deref());
    let format = format.map(|format| format!("format = {}\n", quoted(format))).unwrap_or_default();
    let [root, state] = [data_root(config, file), exec_root(config, file)]
        .map(|directory| quoted(&format!("{directory}/containerd/daemon")));
    let disabled: Vec<String> = NOT_NEEDED.iter().map(|plugin| format!("  {},\n", quoted(plugin))).collect();
    format!(
        "version = 2\nroot = {root}\nstate = {state}\ndisabled_plugins = [\n{}]\n\n[grpc]\naddress = {}\n\n[debug]\nlevel = {}\n{format}",
        disabled.concat(),
        quoted(&own.socket),
        quoted(level),
    )
}

/// Its configuration must be there.
pub fn configured(config: &Config, facts: &Facts) -> Verdict {
    let Some(own) = own(config, facts) else {
        return Verdict::skipped("dockerd starts one itself, or takes the system's or the user's");
    };
    let content = content(config, facts, &own);
    let is_there = facts.containerd_config.as_ref() == Some(&content);
    let write = Action::ReplaceFile { path: CONFIG.into(), content, mode: 0o600 };
    Verdict::needed_or(if is_there { vec![] } else { vec![write] }, own.program)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::facts::Entry;

    fn config(words: &[&str]) -> Config {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Config::new(Engine::new("dockerd", &words), &BTreeMap::new())
    }

    fn image(daemon_json: &str) -> Facts {
        let mut facts =
            Facts { daemon_json: serde_json::from_str(daemon_json).expect("JSON"), ..Facts::default() };
        facts.paths.insert(format!("{PRIVATE}/bin/containerd"), Entry::File(0o755));
        facts
    }

    #[test]
    fn it_is_ours_unless_the_user_has_another_idea() {
        for (words, file, ours) in [
            (&[][..], "{}", true),
            (&["--debug"], r#"{"data-root": "/x"}"#, true),
            (&["--cri-containerd=false"], "{}", true),
            (&["--containerd=/run/containerd/containerd.sock"], "{}", false),
            (&["--cri-containerd"], "{}", false),
            (&["--version"], "{}", false),
            (&["--data-root=docker"], "{}", false),
            (&[], r#"{"containerd": "/x.sock"}"#, false),
            (&[], r#"{"cri-containerd": true}"#, false),
        ] {
            assert_eq!(own(&config(words), &image(file)).is_some(), ours, "{words:?} {file}");
        }
        assert_eq!(own(&config(&[]), &Facts::default()), None, "nothing of ours is there");
        for theirs in [Entry::Special, Entry::Link("/run/k3s/containerd/containerd.sock".into())] {
            let mut facts = image("{}");
            facts.paths.insert(OF_THE_SYSTEM.into(), theirs);
            assert_eq!(own(&config(&[]), &facts), None, "the system has one");
        }
        let becomes_the_engine = Config { supervise: false, ..config(&[]) };
        assert_eq!(own(&becomes_the_engine, &image("{}")), None, "nobody looks after it");
    }

    #[test]
    fn it_logs_as_dockerd_is_told_to() {
        for (words, file, told) in [
            (&[][..], "{}", "level = \"info\"\n"),
            (&["--debug"], r#"{"log-level": "error"}"#, "level = \"debug\"\n"),
            (&[], r#"{"debug": true}"#, "level = \"debug\"\n"),
            (&["--debug=false"], r#"{"log-level": "warn"}"#, "level = \"warn\"\n"),
            (&["--log-format=json"], "{}", "level = \"info\"\nformat = \"json\"\n"),
            (&["-l", "error"], r#"{"log-format": "text"}"#, "level = \"error\"\nformat = \"text\"\n"),
        ] {
            let (config, facts) = (config(words), image(file));
            let own = own(&config, &facts).expect("ours");
            let content = content(&config, &facts, &own);
            assert!(content.ends_with(&format!("[debug]\n{told}")), "{words:?} {file}: {content}");
        }
    }

    #[test]
    fn it_has_dockerds_own_directories_and_no_cri_pain_15() {
        let config = config(&["--data-root=/d", "--exec-root", "/e", "--log-level=warn"]);
        let facts = image("{}");
        let Verdict::Needed { actions } = configured(&config, &facts) else { panic!("needed") };
        let [Action::ReplaceFile { content, .. }] = &actions[..] else { panic!("{actions:?}") };
        for line in [
            "root = \"/d/containerd/daemon\"",
            "state = \"/e/containerd/daemon\"",
            "address = \"/e/containerd/containerd.sock\"",
            "level = \"warn\"",
            "  \"io.containerd.grpc.v1.cri\",",
        ] {
            assert!(content.lines().any(|l| l == line), "no `{line}` in {content}");
        }
        assert!(!content.contains("format"), "dockerd does not name its default: {content}");
        let engine = super::super::engine::command(&config, &facts);
        assert_eq!(engine.args[0], "--containerd=/e/containerd/containerd.sock");
        let mut after = facts;
        actions.iter().for_each(|action| action.predict(&mut after));
        assert!(matches!(configured(&config, &after), Verdict::Satisfied { .. }));
    }
}
