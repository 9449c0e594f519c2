//! daemon.json and `DOCKERD_CONFIG_JSON`: merged so that dockerd finds nothing twice and nothing is lost, or refused.
#![no_main]

use dockerlaunch_plan::config::argv::given;
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::ConfigFile;
use dockerlaunch_plan::rules::daemon_json::{merge, refresh, view};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

/// Flags whose keys are maps, by the name that each entry begins with.
const MAPS: &[(&str, &str)] =
    &[("default-ulimit", "default-ulimits"), ("feature", "features"), ("log-opt", "log-opts")];

fuzz_target!(|parts: (&str, Option<&str>, Vec<&str>)| {
    let (file, over, args) = parts;
    let _ = ConfigFile::decode(file.as_bytes());
    let env = over.map(|over| ("DOCKERD_CONFIG_JSON".to_owned(), over.to_owned()));
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let config = Config::new(Engine { args, ..Engine::default() }, &env.into_iter().collect());
    let user = ConfigFile { path: "/x".into(), content: Some(file.to_owned()), ..ConfigFile::default() };
    view(&config, &user);
    match merge(&config, &user, &config.engine.args, true) {
        Err(problem) => assert!(!problem.hints.is_empty()),
        Ok(merged) => {
            let text = merged.file.expect("always one");
            let map: Map<String, Value> = serde_json::from_str(&text).expect("an object");
            let options = given(&merged.args);
            for option in options.iter().filter(|option| option.name != "add-runtime") {
                for key in [option.name.to_owned(), format!("{}s", option.name)] {
                    assert!(!map.contains_key(&key), "{key} is in both");
                }
            }
            let file: Map<String, Value> = serde_json::from_str(file).unwrap_or_default();
            for (flag, key) in MAPS.iter().filter(|_| over.is_none()) {
                let Some(Value::Object(entries)) = file.get(*key) else { continue };
                for name in entries.keys().filter(|name| !name.contains('=')) {
                    let in_file = map.get(*key).is_some_and(|map| map.get(name).is_some());
                    let is_it = |value: &str| value.split('=').next() == Some(name);
                    let on_line =
                        options.iter().any(|option| option.name == *flag && option.value.is_some_and(is_it));
                    assert!(in_file || on_line, "`{name}` of `{key}` is lost");
                }
            }
            // What was made once is stable.
            let again = refresh(&config, &user, &merged.args).expect("it worked before").expect("ours");
            assert_eq!(again.0, text);
        }
    }
});
