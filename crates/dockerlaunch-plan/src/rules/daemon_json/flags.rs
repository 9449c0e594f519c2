//! Keys of daemon.json as flags of dockerd.

use serde_json::{Map, Value};

use crate::config::join::repeats;

/// Keys whose objects dockerd takes as one value; what stands in other objects counts as if it stood outside (`flatOptions`).
const FLAT: &[&str] = &[
    "builder",
    "cluster-store-opts",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "nri-opts",
    "runtimes",
];

/// The keys that a flag may have in the file: its own name, or its plural. Not so `--add-runtime`, whose `runtimes` dockerd
/// takes from both and joins by itself (`skipDuplicates`).
fn keys(flag: &str) -> [String; 3] {
    let ies = flag.strip_suffix('y').map_or_else(String::new, |stem| format!("{stem}ies"));
    [flag.to_owned(), format!("{flag}s"), ies]
}

/// The flag of a key.
pub(super) fn flag_of(key: &str) -> &str {
    // All flags that repeat have plurals as keys, `insecure-registries` aside; that one's values have no subject.
    key.strip_suffix('s').filter(|flag| repeats(flag)).unwrap_or(key)
}

/// Takes what a flag sets out of the file, wherever dockerd would find it.
pub(super) fn take(map: &mut Map<String, Value>, flag: &str) -> Vec<(String, Value)> {
    let keys = keys(flag);
    let mut taken: Vec<(String, Value)> = Vec::new();
    for key in &keys {
        taken.extend(map.remove(key).map(|value| (key.clone(), value)));
    }
    for (outer, value) in map.iter_mut().filter(|(outer, _)| !FLAT.contains(&outer.as_str())) {
        let Value::Object(inner) = value else { continue };
        for key in &keys {
            taken.extend(inner.remove(key).map(|value| (format!("{outer}.{key}"), value)));
        }
    }
    taken.retain(|(_, value)| !value.is_null());
    taken
}

/// Sets in the file what a flag says with these values, the last of which counts.
pub(super) fn put(map: &mut Map<String, Value>, flag: &str, values: &[String]) {
    let is_map = flag == "log-opt";
    let place = map.entry(if is_map { "log-opts" } else { "proxies" }).or_insert(Value::Null);
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    // What else stands there, dockerd refuses.
    let Value::Object(place) = place else { return };
    for value in values {
        let (key, value) =
            if is_map { value.split_once('=').unwrap_or((value, "")) } else { (flag, value.as_str()) };
        place.insert(key.to_owned(), value.into());
    }
}

/// A value of the file as values of its flag.
///
/// # Errors
/// What no flag can say, and where it stands.
pub(super) fn values(flag: &str, key: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(list) if repeats(flag) => list.iter().map(|value| one(key, value)).collect(),
        Value::Object(map) if repeats(flag) => {
            let entries = map.iter().map(|(key, value)| match value {
                Value::Object(limit) if flag == "default-ulimit" => Ok(vec![ulimit(key, limit)?]),
                Value::Object(inner) if flag == "default-network-opt" => {
                    Ok(pairs(inner)?.iter().map(|pair| format!("{key}={pair}")).collect())
                }
                value => Ok(vec![format!("{key}={}", scalar(key, value)?)]),
            });
            Ok(entries.collect::<Result<Vec<_>, String>>()?.concat())
        }
        value => Ok(vec![scalar(key, value)?]),
    }
}

/// An entry of a list: a word, or an address pool.
fn one(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Object(pool) => Ok(pairs(pool)?.join(",")),
        value => scalar(key, value),
    }
}

fn pairs(map: &Map<String, Value>) -> Result<Vec<String>, String> {
    map.iter().map(|(key, value)| Ok(format!("{key}={}", scalar(key, value)?))).collect()
}

/// `{"Name": "nofile", "Soft": 1, "Hard": 2}`, as `default-ulimits` has them. What is missing is 0, as Go reads it.
fn ulimit(key: &str, limit: &Map<String, Value>) -> Result<String, String> {
    let number = |name: &str| {
        let Some((name, value)) = limit.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)) else {
            return Ok(0);
        };
        value
            .as_i64()
            .ok_or_else(|| format!("`{name}` of `{key}` is {}, expected a whole number", kind(value)))
    };
    Ok(format!("{key}={}:{}", number("soft")?, number("hard")?))
}

fn scalar(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(on) => Ok(on.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("`{key}` is {}, which no option can say", kind(value)))
        }
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
