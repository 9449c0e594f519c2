//! daemon.json and `DOCKERD_CONFIG_JSON`: merged so that dockerd finds nothing twice, or refused.
#![no_main]

use dockerlaunch_plan::config::argv::given;
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::ConfigFile;
use dockerlaunch_plan::rules::daemon_json::{merge, refresh, view};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (&str, Option<&str>, Vec<&str>)| {
    let (file, over, args) = parts;
    let _ = ConfigFile::decode(file.as_bytes());
    let env = over.map(|over| ("DOCKERD_CONFIG_JSON".to_owned(), over.to_owned()));
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let config = Config::new(Engine { args, ..Engine::default() }, &env.into_iter().collect());
    let file = ConfigFile { path: "/x".into(), content: Some(file.to_owned()), ..ConfigFile::default() };
    view(&config, &file);
    match merge(&config, &file, &config.engine.args, true) {
        Err(problem) => assert!(!problem.hints.is_empty()),
        Ok(merged) => {
            let text = merged.file.expect("always one");
            let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("an object");
            for option in given(&merged.args).iter().filter(|option| option.name != "add-runtime") {
                assert!(!map.contains_key(option.name), "{} is in both", option.name);
            }
            // What was made once is stable.
            let again = refresh(&config, &file, &merged.args).expect("it worked before").expect("ours");
            assert_eq!(again.0, text);
        }
    }
});
