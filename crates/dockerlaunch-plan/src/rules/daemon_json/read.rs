//! The two texts: what they must be, and what to tell when they are not.

use serde_json::{Map, Value};

use super::flags::kind;
use crate::Problem;
use crate::config::Config;
use crate::config::variables::CONFIG_JSON;
use crate::facts::ConfigFile;

/// The user's file.
pub(super) fn file(
    file: &ConfigFile,
    is_named: bool,
    notices: &mut Vec<String>,
) -> Result<Map<String, Value>, Problem> {
    let path = &file.path;
    if let Some(error) = &file.error {
        return Err(Problem::new(format!("cannot read `{path}`"))
            .cause(error)
            .hint("a directory in its place is what an engine makes of a mounted file that is not there: name one that is")
            .remedy("or name another file", "--config-file /etc/docker/daemon.json"));
    }
    match &file.content {
        None if is_named => Err(Problem::new(format!("there is no configuration file `{path}`"))
            .hint("mount it there, or leave `--config-file` and DOCKERD_CONFIG_FILE out")),
        None => Ok(Map::new()),
        Some(text) if text.trim().is_empty() => {
            notices.push(format!("{path} is empty: the engine starts as if it were not there"));
            Ok(Map::new())
        }
        Some(text) => object(text, &format!("`{path}`")),
    }
}

/// What the environment sets over it.
pub(super) fn variable(config: &Config) -> Result<Option<Map<String, Value>>, Problem> {
    config.environment.json.as_deref().map(|text| object(text, CONFIG_JSON)).transpose()
}

/// A text that must be an object.
pub(super) fn object(text: &str, name: &str) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) => understood(map, name),
        Ok(_) => Err(Problem::new(format!("{name} is no JSON object"))
            .cause("expected keys and values between braces")
            .remedy("write it like this", "{\"mtu\": 1450}")),
        // The text itself is not shown: it may hold secrets.
        Err(error) => {
            let problem = Problem::new(format!("{name} is no valid JSON")).cause(format!(
                "line {}, column {}: {}",
                error.line(),
                error.column(),
                reason(&error)
            ));
            Err(match error.classify() {
                serde_json::error::Category::Eof => problem.hint("it ends too early: was it cut off, or is a brace missing?"),
                _ => problem.hint("JSON wants names and texts in double quotes, commas only between entries, and no comments"),
            })
        }
    }
}

/// What our own rules follow must be of the kind that dockerd wants, or they would go on without it: a list of listeners that
/// is none would open the default ones. `null` is as good as nothing.
fn understood(map: Map<String, Value>, name: &str) -> Result<Map<String, Value>, Problem> {
    let wrong: Vec<(&String, &Value, Expected)> = map
        .iter()
        .filter_map(|(key, value)| Some((key, value, expected(key)?)))
        .filter(|(_, value, expected)| !value.is_null() && !(expected.is)(value))
        .collect();
    let Some((first, _, Expected { example, .. })) = wrong.first() else { return Ok(map) };
    let problem = Problem::new(format!("`{first}` of {name} makes no sense"))
        .remedy("write it like this", format!("{{\"{first}\": {example}}}"));
    Err(wrong.iter().fold(problem, |problem, (key, value, Expected { what, .. })| {
        problem.cause(format!("`{key}` is {}, expected {what}", kind(value)))
    }))
}

/// What a directive must be.
pub(super) struct Expected {
    is: fn(&Value) -> bool,
    what: &'static str,
    example: &'static str,
}

/// What dockerd wants of the directives in [`DaemonJson`].
pub(super) fn expected(key: &str) -> Option<Expected> {
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let (is, what, example): (fn(&Value) -> bool, _, _) = match key {
        "hosts" => (is_list, "a list of texts", "[\"unix:///var/run/docker.sock\"]"),
        "dns-opts" => (is_list, "a list of texts", "[\"timeout:2\"]"),
        "dns" => (is_list, "a list of texts", "[\"192.0.2.53\"]"),
        "default-address-pools" => {
            (Value::is_array, "a list", "[{\"base\": \"10.20.0.0/16\", \"size\": 24}]")
        }
        "default-network-opts" => (Value::is_object, "an object", "{\"bridge\": {\"name\": \"value\"}}"),
        "mtu" | "shutdown-timeout" => (Value::is_i64, "a whole number", "1450"),
        "cri-containerd" | "debug" | "ip-forward" | "ip6tables" | "ipv6" | "iptables" | "live-restore"
        | "tls" | "tlsverify" => (Value::is_boolean, "true or false", "true"),
        "bip" | "bip6" | "bridge" | "containerd" | "data-root" | "exec-root" | "firewall-backend"
        | "fixed-cidr" | "group" | "log-format" | "log-level" | "storage-driver" | "tlscacert"
        | "tlscert" | "tlskey" => (Value::is_string, "a text", "\"…\""),
        _ => return None,
    };
    Some(Expected { is, what, example })
}

/// serde_json's words without the place, which we have told.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
