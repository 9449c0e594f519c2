//! daemon.json: the user's file, `DOCKERD_CONFIG_JSON` over it, less what the command line says. dockerd refuses a directive
//! that stands in both places (moby, daemon/config/config.go, `findConfigurationConflicts`).

use serde_json::{Map, Value};

use crate::config::Config;
use crate::config::argv::{SECRET, add, given, without};
use crate::config::join::{join, repeats, subject};
use crate::config::variables::CONFIG_JSON;
use crate::facts::{ConfigFile, DaemonJson, Facts, MERGED_CONFIG};
use crate::{Action, Problem, Verdict, masked_word};

use super::{engine, listeners};

mod flags;
mod read;

use flags::{flag_of, put, take, values};

/// Where dockerd looks unless it is told otherwise.
pub const DEFAULT_PATH: &str = "/etc/docker/daemon.json";

/// What comes of the merge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// What [`MERGED_CONFIG`] must hold; `None` when the user's file will do as it is.
    pub file: Option<String>,
    /// The command line that goes with it.
    pub args: Vec<String>,
    /// What gave way, one line each.
    pub notices: Vec<String>,
}

/// Writes the merged file when one is needed.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    if let Some(problem) = all_in_one(&config.environment.problems) {
        return Verdict::Blocked { problem };
    }
    match merge(config, &facts.config_file, &engine::arguments(config, facts).0, false) {
        Err(problem) => Verdict::Blocked { problem },
        Ok(Merged { file: None, .. }) => Verdict::satisfied("nothing to merge"),
        Ok(Merged { file: Some(content), .. }) if facts.config_file.merged.as_ref() == Some(&content) => {
            Verdict::satisfied(format!("{MERGED_CONFIG} is up to date"))
        }
        Ok(Merged { file: Some(content), .. }) => Verdict::Needed {
            actions: vec![Action::ReplaceFile { path: MERGED_CONFIG.into(), content, mode: 0o600 }],
        },
    }
}

/// Several mistakes are told at once.
fn all_in_one(problems: &[Problem]) -> Option<Problem> {
    let [first, rest @ ..] = problems else { return None };
    if rest.is_empty() {
        return Some(first.clone());
    }
    let mut all = Problem::new(format!("{} settings in the environment make no sense", problems.len()));
    for problem in problems {
        all = all.cause(
            std::iter::once(&problem.what).chain(&problem.causes).cloned().collect::<Vec<_>>().join(": "),
        );
        all.hints.extend(problem.hints.iter().cloned());
    }
    Some(all)
}

/// Merges everything for an engine that gets `args`. With `always` a file comes of it even when the user's would do: an
/// engine that runs on the merged one reads no other again.
///
/// # Errors
/// One of the two texts is no JSON object, has what cannot be merged, or the file that was named is not there.
pub fn merge(config: &Config, file: &ConfigFile, args: &[String], always: bool) -> Result<Merged, Problem> {
    let from_environment = |flag: &str| config.environment.secret.iter().any(|secret| secret == flag);
    merge_hiding(config, file, args, always, &|flag, is_in_file| is_in_file || from_environment(flag))
}

/// `hides` says of a flag in [`SECRET`], and whether the file has it too, that it is for the file alone.
fn merge_hiding(
    config: &Config,
    file: &ConfigFile,
    args: &[String],
    always: bool,
    hides: &dyn Fn(&str, bool) -> bool,
) -> Result<Merged, Problem> {
    let mut notices = Vec::new();
    let is_named = given(&config.engine.args).iter().any(|option| option.name == "config-file");
    let user = read::file(file, is_named, &mut notices)?;
    let mut merged = user.clone();
    if let Some(over) = read::variable(config)? {
        overlay(&mut merged, over, &file.path, &mut notices);
    }
    one_spelling(&mut merged);
    let mut names: Vec<&str> = Vec::new();
    for option in given(args) {
        if !names.contains(&option.name) {
            names.push(option.name);
        }
    }
    let mut out = args.to_vec();
    for name in names {
        let taken = take(&mut merged, name);
        let is_hidden = SECRET.contains(&name) && hides(name, !taken.is_empty());
        for (key, value) in taken {
            // Listeners were looked at before: dockerd shall have no others than those on the command line.
            if name == "host" {
                continue;
            }
            let origin = format!("`{key}` of {}", file.path);
            let values = values(name, &key, &value).map_err(|cause| {
                Problem::new(format!("{origin} cannot be joined to `--{name}`"))
                    .cause(cause)
                    .hint(format!("correct it, or set all of it either by `--{name}` or there"))
            })?;
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            join(&mut out, &mut notices, name, &values, repeats(name), &origin);
        }
        // An option that lacks its value stays, for dockerd to refuse.
        if is_hidden && let Some(values) = all_values(&out, name) {
            out = without(&out, &[name]);
            put(&mut merged, name, &values);
        }
    }
    if merged == user && !always {
        return Ok(Merged { file: None, args: out, notices });
    }
    let mut args = without(&out, &["config-file"]);
    add(&mut args, format!("--config-file={MERGED_CONFIG}"));
    Ok(Merged { file: Some(text(&merged)), args, notices })
}

/// The values that an option is given; `None` where one is missing.
fn all_values(args: &[String], name: &str) -> Option<Vec<String>> {
    given(args).iter().filter(|o| o.name == name).map(|o| o.value.map(str::to_owned)).collect()
}

fn text(map: &Map<String, Value>) -> String {
    // A map with string keys: serialising it cannot fail.
    serde_json::to_string_pretty(map).unwrap_or_default() + "\n"
}

/// The file's path, as the engine would look for it.
pub fn path(config: &Config) -> &str {
    let named = given(&config.engine.args).into_iter().rfind(|option| option.name == "config-file");
    named.and_then(|option| option.value).unwrap_or(DEFAULT_PATH)
}

/// For an engine that runs with `args`: what [`MERGED_CONFIG`] must hold now that the user's file may be another, and what to
/// tell. `None` when the engine reads the user's file itself.
///
/// # Errors
/// As [`merge`]; the engine then goes on with what it has.
pub fn refresh(
    config: &Config,
    file: &ConfigFile,
    args: &[String],
) -> Result<Option<(String, Vec<String>)>, Problem> {
    let ours = format!("--config-file={MERGED_CONFIG}");
    if !args.contains(&ours) {
        return Ok(None);
    }
    // What was hidden in the file stands there still, and only there.
    let is_on_line = |flag: &str| given(args).iter().any(|option| option.name == flag);
    let mut all = args.to_vec();
    let hidden = given(&config.engine.args)
        .into_iter()
        .filter(|option| SECRET.contains(&option.name) && !is_on_line(option.name));
    hidden
        .for_each(|option| add(&mut all, format!("--{}={}", option.name, option.value.unwrap_or_default())));
    let Merged { file, args: wanted, mut notices } =
        merge_hiding(config, file, &all, true, &|flag, _| !is_on_line(flag))?;
    let more = wanted.iter().filter(|arg| !args.contains(arg));
    notices.extend(more.map(|arg| format!("`{}` waits for a new start of the engine", masked_word(arg))));
    Ok(file.map(|content| (content, notices)))
}

/// What dockerd can be asked about before a start (`--validate`): what the user wants, without our listeners, and without TLS
/// where the certificates are ours, since they are made only then.
///
/// # Errors
/// As [`merge`].
pub fn before_start(config: &Config, facts: &Facts) -> Result<Merged, Problem> {
    let (args, file) = (&config.engine.args, &facts.config_file);
    if !listeners::decide(config, facts).is_ok_and(|l| matches!(l.tls, listeners::Tls::Directory(_))) {
        return merge(config, file, args, false);
    }
    const TLS: [&str; 5] = ["tls", "tlsverify", "tlscacert", "tlscert", "tlskey"];
    let mut all = merge(config, file, &without(args, &TLS), true)?;
    let mut merged = read::object(&all.file.unwrap_or_default(), MERGED_CONFIG)?;
    TLS.iter().for_each(|name| drop(take(&mut merged, name)));
    all.file = Some(text(&merged));
    Ok(all)
}

/// What concerns our own rules in both texts; broken ones are told elsewhere.
pub fn view(config: &Config, file: &ConfigFile) -> DaemonJson {
    let mut merged = read::file(file, false, &mut Vec::new()).unwrap_or_default();
    if let Ok(Some(over)) = read::variable(config) {
        overlay(&mut merged, over, "", &mut Vec::new());
    }
    merged.retain(|_, value| !value.is_null());
    let containerd_snapshotter =
        merged.get("features").and_then(|all| all["containerd-snapshotter"].as_bool());
    let view = serde_json::from_value(Value::Object(merged)).unwrap_or_default();
    DaemonJson { containerd_snapshotter, ..view }
}

/// Objects deeply, lists joined, anything else replaced, `null` removes (RFC 7396).
fn overlay(under: &mut Map<String, Value>, over: Map<String, Value>, path: &str, notices: &mut Vec<String>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (_, Value::Null) => {
                under.remove(&key);
            }
            (Some(Value::Object(under)), Value::Object(over)) => overlay(under, over, path, notices),
            (Some(Value::Array(under)), Value::Array(over)) => {
                let name = flag_of(&key);
                let what = |v: &Value| v.as_str().map(|text| subject(name, text).to_owned());
                let is_in = |list: &[Value], v: &Value| {
                    list.iter().any(|o| o == v || what(v).is_some() && what(o) == what(v))
                };
                let rest: Vec<Value> = under.drain(..).filter(|value| !is_in(&over, value)).collect();
                let mut list: Vec<Value> = Vec::new();
                for value in over.into_iter().chain(rest) {
                    if !list.contains(&value) {
                        list.push(value);
                    }
                }
                *under = list;
            }
            // What removes nothing says nothing either.
            (None, Value::Object(over)) => {
                let mut fresh = Map::new();
                overlay(&mut fresh, over, path, notices);
                under.insert(key, Value::Object(fresh));
            }
            (before, value) => {
                if before.is_some_and(|before| *before != value) {
                    notices.push(format!("`{key}` of {path} gives way to {CONFIG_JSON}"));
                }
                under.insert(key, value);
            }
        }
    }
}

/// The two names of one setting; dockerd refuses a file that has both (`migratedNamedConfig`).
fn one_spelling(map: &mut Map<String, Value>) {
    const OLD: &str = "host-gateway-ip";
    const NEW: &str = "host-gateway-ips";
    if map.contains_key(NEW) {
        map.remove(OLD);
    }
}

#[cfg(test)]
mod tests;
