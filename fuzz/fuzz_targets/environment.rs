//! Settings in the environment: whatever they hold is understood or refused, and nothing that is told shows a password.
#![no_main]

use std::collections::BTreeMap;

use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::certificates;
use dockerlaunch_plan::facts::dockerd_flags::{parse_help, parse_list, write_list};
use dockerlaunch_plan::{masked, render};
use libfuzzer_sys::fuzz_target;

const HELP: &str = include_str!("../../crates/dockerlaunch-plan/fixtures/dockerd/help-28.5.txt");

const NAMES: &[&str] = &[
    "MTU",
    "HTTP_PROXY",
    "no_proxy",
    "DOCKER_DAEMON_ARGS",
    "DOCKER_REGISTRY_MIRROR",
    "DOCKER_DEFAULT_ADDRESS_POOL_BASE",
    "DOCKER_DEFAULT_ADDRESS_POOL_SIZE",
    "DOCKER_DRIVER",
    "DOCKER_MIN_API_VERSION",
];

fuzz_target!(|text: &str| {
    let flags = parse_help(HELP);
    assert_eq!(parse_list(&write_list(&flags)), flags);
    parse_list(&write_list(&parse_help(text)));
    // One setting a line, each for the next flag or name.
    let own = flags.iter().map(|flag| format!("DOCKERD_{}", flag.name.to_uppercase().replace('-', "_")));
    let names = NAMES.iter().map(|name| (*name).to_owned()).chain(own);
    let mut env: BTreeMap<String, String> =
        text.split('\0').zip(names).map(|(v, k)| (k, v.to_owned())).collect();
    env.insert(format!("DOCKERD_{}", text.split('\0').next().unwrap_or_default()), "1".to_owned());
    let mut config = Config::new(Engine::default(), &env);
    config.apply_environment(Ok(&flags));
    for problem in &config.environment.problems {
        assert!(!problem.hints.is_empty(), "{problem:?}");
        render::problem(problem);
    }
    assert_eq!(masked(&masked(text)), masked(text));
    let planted = format!("{text} http://user:S3CRET@proxy");
    assert!(!masked(&planted).contains("S3CRET"));
    certificates::bundle([text]);
});
