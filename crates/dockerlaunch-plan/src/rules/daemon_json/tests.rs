use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::config::Engine;

mod properties;

/// Flags and their keys as moby has them (v28.5.2, cmd/dockerd/config.go, config_unix.go, options.go).
const NAMED: &[(&str, &str)] = &[
    ("add-runtime", "runtimes"),
    ("authorization-plugin", "authorization-plugins"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
    ("default-address-pool", "default-address-pools"),
    ("default-network-opt", "default-network-opts"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("feature", "features"),
    ("host", "hosts"),
    ("host-gateway-ip", "host-gateway-ips"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("node-generic-resource", "node-generic-resources"),
    ("registry-mirror", "registry-mirrors"),
    ("storage-opt", "storage-opts"),
];

/// dockerd's own check (daemon/config/config.go, `configValuesSet` and steps 3 and 4 of `findConfigurationConflicts`).
fn conflicts(file: &Map<String, Value>, args: &[String]) -> Vec<String> {
    const FLAT: &[&str] = &[
        "cluster-store-opts",
        "default-network-opts",
        "log-opts",
        "runtimes",
        "default-ulimits",
        "features",
        "builder",
    ];
    let mut set: Vec<&str> = Vec::new();
    for (key, value) in file {
        match value {
            Value::Object(inner) if !FLAT.contains(&key.as_str()) => {
                set.extend(inner.keys().map(String::as_str))
            }
            _ => set.push(key),
        }
    }
    let given: Vec<String> = given(args).iter().map(|o| o.name.to_owned()).collect();
    let mut found: Vec<String> = given
        .iter()
        .map(|flag| NAMED.iter().find(|(named, _)| named == flag).map_or(flag.as_str(), |(_, key)| key))
        .filter(|key| *key != "runtimes" && set.contains(key))
        .map(str::to_owned)
        .collect();
    if set.contains(&"host-gateway-ip")
        && (set.contains(&"host-gateway-ips") || given.iter().any(|g| g == "host-gateway-ip"))
    {
        found.push("host-gateway-ip".into());
    }
    found
}

fn config(args: &str, json: Option<&str>) -> Config {
    let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    let env: BTreeMap<String, String> =
        json.map(|j| (CONFIG_JSON.to_owned(), j.to_owned())).into_iter().collect();
    Config::new(Engine::new("dockerd", &args), &env)
}

fn file(content: Option<&str>) -> ConfigFile {
    ConfigFile { path: DEFAULT_PATH.into(), content: content.map(str::to_owned), ..ConfigFile::default() }
}

fn merged(args: &str, json: Option<&str>, content: Option<&str>) -> Result<Merged, Problem> {
    let config = config(args, json);
    merge(&config, &file(content), &config.engine.args, false)
}

/// Arguments, the merged file if there is one, and the number of notices.
fn shown(args: &str, json: Option<&str>, content: Option<&str>) -> (String, Option<Value>, usize) {
    let merged = merged(args, json, content).expect("merge");
    let value = merged.file.map(|text| serde_json::from_str(&text).expect("JSON"));
    let args: Vec<String> = merged.args.into_iter().filter(|a| !a.ends_with(MERGED_CONFIG)).collect();
    let args = args.join(" ");
    (args, value, merged.notices.len())
}

#[test]
fn what_needs_no_merge_is_left_to_the_user() {
    for (args, json, content) in [
        ("", None, None),
        ("--mtu 1", None, Some(r#"{"dns": ["192.0.2.1"]}"#)),
        ("", Some("{}"), Some("{\n}")),
        ("", Some(r#"{"mtu": 1}"#), Some(r#"{ "mtu" : 1 }"#)),
        ("--add-runtime a=/a", None, Some(r#"{"runtimes": {"b": {"path": "/b"}}}"#)),
    ] {
        let merged = merged(args, json, content).expect("merge");
        assert_eq!((merged.file, merged.notices), (None, vec![]), "{args} {json:?} {content:?}");
        assert_eq!(merged.args.join(" "), args);
    }
}

#[test]
fn the_command_line_wins_and_lists_are_not_lost() {
    for (args, content, wanted_args, wanted_file, notices) in [
        ("--mtu=1", json!({"mtu": 2, "debug": true}), "--mtu=1", json!({"debug": true}), 1),
        ("--mtu=1", json!({"mtu": 1}), "--mtu=1", json!({}), 0),
        ("-D", json!({"debug": false}), "-D", json!({}), 1),
        ("--dns=1", json!({"dns": ["2", "1"]}), "--dns=1 --dns=2", json!({}), 0),
        ("--label=a=1", json!({"labels": ["a=2", "b=3"]}), "--label=a=1 --label=b=3", json!({}), 1),
        (
            "--insecure-registry=a",
            json!({"insecure-registries": ["b"]}),
            "--insecure-registry=a --insecure-registry=b",
            json!({}),
            0,
        ),
        (
            "--log-opt a=1",
            json!({"log-opts": {"b": "2", "a": "3"}}),
            "",
            json!({"log-opts": {"a": "1", "b": "2"}}),
            1,
        ),
        ("--feature a", json!({"features": {"b": true}}), "--feature a --feature=b=true", json!({}), 0),
        (
            "--default-ulimit core=1",
            json!({"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2, "Soft": 1}}}),
            "--default-ulimit core=1 --default-ulimit=nofile=1:2",
            json!({}),
            0,
        ),
        (
            "--default-ulimit core=1",
            json!({"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 5}}}),
            "--default-ulimit core=1 --default-ulimit=nofile=5:0",
            json!({}),
            0,
        ),
        (
            "--default-network-opt bridge=a=1",
            json!({"default-network-opts": {"bridge": {"b": "2"}}}),
            "--default-network-opt bridge=a=1 --default-network-opt=bridge=b=2",
            json!({}),
            0,
        ),
        (
            "--default-address-pool base=10.0.0.0/16,size=24",
            json!({"default-address-pools": [{"base": "10.1.0.0/16", "size": 24}]}),
            "--default-address-pool base=10.0.0.0/16,size=24 --default-address-pool=base=10.1.0.0/16,size=24",
            json!({}),
            0,
        ),
        (
            "--http-proxy=http://a",
            json!({"proxies": {"http-proxy": "http://b", "no-proxy": "c"}}),
            "",
            json!({"proxies": {"http-proxy": "http://a", "no-proxy": "c"}}),
            1,
        ),
        ("--host-gateway-ip=1", json!({"host-gateway-ip": "2"}), "--host-gateway-ip=1", json!({}), 1),
        ("-H fd://", json!({"hosts": ["tcp://0.0.0.0:1"]}), "-H fd://", json!({}), 0),
        ("--config-file /x --mtu 1", json!({"mtu": 2}), "--mtu 1", json!({}), 1),
    ] {
        let got = shown(args, None, Some(&content.to_string()));
        assert_eq!(got, (wanted_args.to_owned(), Some(wanted_file), notices), "{args} {content}");
    }
}

#[test]
fn what_no_flag_can_say_is_told() {
    for (args, content, cause) in [
        ("--log-opt a=1", json!({"log-opts": {"x": null, "b": "1"}}), "`x` is null"),
        ("--label a=1", json!({"labels": [["b=1"]]}), "`labels` is a list"),
        (
            "--default-network-opt a=b=1",
            json!({"default-network-opts": {"a": {"c": {}}}}),
            "`c` is an object",
        ),
        (
            "--default-ulimit core=1",
            json!({"default-ulimits": {"nofile": {"Soft": "5"}}}),
            "`Soft` of `nofile` is a text, expected a whole number",
        ),
        ("--bip=10.0.0.1/8", json!({"bip": ["10.0.0.1/8"]}), "`bip` is a list"),
    ] {
        let problem = merged(args, None, Some(&content.to_string())).expect_err(cause);
        assert!(problem.causes[0].contains(cause) && !problem.hints.is_empty(), "{problem}");
    }
    // `null` removes, and what there is nothing of cannot be removed.
    let over = r#"{"log-opts": {"x": null, "b": "1"}}"#;
    assert_eq!(shown("", Some(over), None).1, Some(json!({"log-opts": {"b": "1"}})));
    assert_eq!(shown("--label a=1", None, Some(r#"{"labels": null}"#)).0, "--label a=1");
}

#[test]
fn the_variable_wins_over_the_file() {
    for (over, under, wanted, notices) in [
        (json!({"mtu": 1}), json!({"mtu": 2, "debug": true}), json!({"mtu": 1, "debug": true}), 1),
        (json!({"dns": ["1", "2"]}), json!({"dns": ["2", "3"]}), json!({"dns": ["1", "2", "3"]}), 0),
        (json!({"labels": ["a=1"]}), json!({"labels": ["a=2", "b=1"]}), json!({"labels": ["a=1", "b=1"]}), 0),
        (
            json!({"builder": {"gc": {"enabled": true}}}),
            json!({"builder": {"gc": {"policy": []}}}),
            json!({"builder": {"gc": {"enabled": true, "policy": []}}}),
            0,
        ),
        (
            json!({"log-opts": {"a": "1"}}),
            json!({"log-opts": {"a": "2", "b": "1"}}),
            json!({"log-opts": {"a": "1", "b": "1"}}),
            1,
        ),
        (json!({"mtu": null}), json!({"mtu": 2}), json!({}), 0),
        (
            json!({"host-gateway-ips": ["1"]}),
            json!({"host-gateway-ip": "2"}),
            json!({"host-gateway-ips": ["1"]}),
            0,
        ),
    ] {
        let got = shown("", Some(&over.to_string()), Some(&under.to_string()));
        assert_eq!(got, (String::new(), Some(wanted), notices), "{over} over {under}");
    }
    assert_eq!(shown("--mtu=3", Some(r#"{"mtu": 1}"#), Some(r#"{"mtu": 2}"#)).0, "--mtu=3");
}

#[test]
fn an_empty_file_is_none_and_a_broken_one_is_told() {
    for empty in ["", "  \n"] {
        let merged = merged("", None, Some(empty)).expect("as none");
        assert_eq!((merged.file, merged.notices.len()), (None, 1));
    }
    for (text, place) in [
        ("{", "line 1, column 1"),
        ("{\n\"mtu\": 1,\n}", "line 3, column 1"),
        ("{'mtu': 1}", "line 1, column 2"),
        ("[1]", "braces"),
        ("// x", "line 1, column 1"),
    ] {
        let problem = merged("", None, Some(text)).expect_err(text);
        assert!(problem.what.contains(DEFAULT_PATH) && problem.causes[0].contains(place), "{problem}");
        assert!(!problem.hints.is_empty());
        assert!(merged("", Some(text), None).expect_err(text).what.contains(CONFIG_JSON));
    }
    assert!(merged("--config-file /x", None, None).is_err(), "named, and not there");
    let directory = ConfigFile { error: Some("Is a directory".into()), ..file(None) };
    assert!(merge(&config("", None), &directory, &[], false).is_err());
}

#[test]
fn secrets_of_a_file_or_variable_stay_off_the_command_line() {
    let hidden = |line: &str, env: &[(&str, &str)], content: Option<&str>| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut config = Config::new(Engine::new("dockerd", &args), &env);
        let help = include_str!("../../../fixtures/dockerd/help-28.5.txt");
        config.apply_environment(Ok(&crate::facts::dockerd_flags::parse_help(help)));
        let merged = merge(&config, &file(content), &config.engine.args, false).expect("merge");
        (config, merged)
    };
    let of =
        |merged: &Merged| merged.file.as_deref().map(|f| serde_json::from_str::<Value>(f).expect("JSON"));
    let place = format!("--config-file={MERGED_CONFIG}");
    for (line, env, content, wanted_args, wanted) in [
        (
            "-D --log-opt a=1",
            &[][..],
            Some(r#"{"log-opts": {"t": "S"}}"#),
            "-D",
            json!({"log-opts": {"a": "1", "t": "S"}}),
        ),
        (
            "--log-opt a=1 --log-opt a=2 --no-proxy=x",
            &[("DOCKERD_LOG_OPT", "t=S,a=3"), ("DOCKERD_HTTPS_PROXY", "http://u:S@p")],
            Some(r#"{"proxies": {"http-proxy": "http://v:S@q"}}"#),
            "--no-proxy=x",
            json!({
                "log-opts": {"a": "2", "t": "S"},
                "proxies": {"http-proxy": "http://v:S@q", "https-proxy": "http://u:S@p"},
            }),
        ),
        ("", &[("DOCKER_DAEMON_ARGS", "--log-opt t=S")], None, "", json!({"log-opts": {"t": "S"}})),
    ] {
        let (config, merged) = hidden(line, env, content);
        let args: Vec<&str> = merged.args.iter().map(String::as_str).filter(|arg| **arg != place).collect();
        assert_eq!((args.join(" "), of(&merged)), (wanted_args.to_owned(), Some(wanted.clone())), "{line}");
        // There it stays when the file changes.
        let (again, _) = refresh(&config, &file(content), &merged.args).expect("merge").expect("ours");
        assert_eq!(Some(again), merged.file, "{line}");
        let (gone, notices) = refresh(&config, &file(None), &merged.args).expect("merge").expect("ours");
        assert!(notices.is_empty(), "{notices:?}");
        let gone: Value = serde_json::from_str(&gone).expect("JSON");
        assert_eq!(gone["log-opts"].get("a"), wanted["log-opts"].get("a"), "{line}");
    }
    // The user's own file does where it says the same.
    let same = hidden("", &[("DOCKERD_LOG_OPT", "a=1")], Some(r#"{"log-opts": {"a": "1"}}"#)).1;
    assert_eq!((same.file, same.args.len()), (None, 0));
    // What the user wrote on the command line stays there, unless it must be joined, and so does what dockerd refuses.
    for line in ["--log-opt a=1 --http-proxy http://p", "--log-opt"] {
        assert_eq!(hidden(line, &[], None).1.args.join(" "), line);
    }
    let (config, started) = hidden("--log-opt a=1 --mtu 1", &[], Some(r#"{"mtu": 2}"#));
    let (text, notices) = refresh(&config, &file(Some(r#"{"log-opts": {"b": "S"}}"#)), &started.args)
        .expect("merge")
        .expect("ours");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), json!({}), "dockerd would find it twice");
    assert_eq!(notices, ["`--log-opt=b=S` waits for a new start of the engine"]);
}

#[test]
fn a_changed_file_is_merged_anew_for_an_engine_that_runs() {
    let config = config("--dns=1 --mtu=1", Some(r#"{"debug": true}"#));
    let started =
        merge(&config, &file(Some(r#"{"dns": ["2"]}"#)), &config.engine.args, false).expect("merge");
    let refreshed = |content: Option<&str>| refresh(&config, &file(content), &started.args);
    let (text, notices) =
        refreshed(Some(r#"{"dns": ["2", "3"], "mtu": 2, "labels": ["a=1"]}"#)).expect("merge").expect("ours");
    assert_eq!(
        serde_json::from_str::<Value>(&text).expect("JSON"),
        json!({"debug": true, "labels": ["a=1"]})
    );
    assert_eq!(
        notices,
        [
            "`mtu` of /etc/docker/daemon.json gives way to `--mtu=1`",
            "`--dns=3` waits for a new start of the engine"
        ]
    );
    assert!(refreshed(None).expect("gone is none").is_some());
    assert!(refreshed(Some("{")).is_err());
    assert_eq!(refresh(&config, &file(Some("{")), &config.engine.args), Ok(None));
}

#[test]
fn our_own_rules_see_both_texts() {
    let seen = view(
        &config("", Some(r#"{"hosts": ["fd://"], "tls": true}"#)),
        &file(Some(r#"{"hosts": ["unix:///x"], "data-root": "/d"}"#)),
    );
    assert_eq!(seen.hosts, ["fd://", "unix:///x"]);
    assert!(seen.tls == Some(true) && seen.data_root.as_deref() == Some("/d"));
    assert_eq!(view(&config("", Some("{")), &file(Some("["))), DaemonJson::default());
}

#[test]
fn what_our_own_rules_follow_must_be_of_its_kind() {
    for (text, key, expected) in [
        (r#"{"hosts": "unix:///x", "data-root": "/d"}"#, "hosts", "is a text, expected a list of texts"),
        (r#"{"hosts": [null]}"#, "hosts", "is a list, expected a list of texts"),
        (r#"{"mtu": 1400.5}"#, "mtu", "is a number, expected a whole number"),
        (r#"{"tlsverify": "false"}"#, "tlsverify", "is a text, expected true or false"),
        (r#"{"data-root": {}}"#, "data-root", "is an object, expected a text"),
    ] {
        for (over, under, place) in [(None, Some(text), DEFAULT_PATH), (Some(text), None, CONFIG_JSON)] {
            let problem = merged("-H fd://", over, under).expect_err(text);
            assert!(problem.what.contains(key) && problem.what.contains(place), "{problem}");
            assert!(problem.causes[0].contains(expected) && !problem.hints.is_empty(), "{problem}");
        }
    }
    let ours = serde_json::to_value(DaemonJson::default()).expect("plain");
    for key in ours.as_object().expect("a struct").keys() {
        assert!(read::expected(key).is_some(), "{key}");
    }
    let both = merged("", None, Some(r#"{"tls": 1, "mtu": "x"}"#)).expect_err("two");
    assert_eq!(both.causes.len(), 2);
    let seen = view(&config("", None), &file(Some(r#"{"hosts": null, "tls": false, "data-root": "/d"}"#)));
    assert_eq!((seen.hosts.len(), seen.tls, seen.data_root.as_deref()), (0, Some(false), Some("/d")));
}

#[test]
fn certificates_of_ours_are_no_matter_before_a_start() {
    let asked = |line: &str, content: &str| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let engine = match args.split_first() {
            Some((first, rest)) if first == "dockerd" => Engine::new(first, rest),
            _ => Engine::with_defaults(&args),
        };
        let config = Config::new(engine, &BTreeMap::new());
        let config_file = file(Some(content));
        let daemon_json = view(&config, &config_file);
        let facts = Facts { config_file, daemon_json, ..Facts::default() };
        let asked = before_start(&config, &facts).expect("merge");
        (asked.args.join(" "), asked.file.map(|text| serde_json::from_str::<Value>(&text).expect("JSON")))
    };
    let place = format!("--config-file={MERGED_CONFIG}");
    let ours = |line: &str| if line.is_empty() { place.clone() } else { format!("{line} {place}") };
    for (line, content, wanted, merged) in [
        ("--tls", json!({}), "", json!({})),
        ("--tlsverify --tlscacert /ca -D", json!({"mtu": 1}), "-D", json!({"mtu": 1})),
        ("", json!({"tlsverify": true, "tlskey": "/k", "mtu": 1}), "", json!({"mtu": 1})),
    ] {
        assert_eq!(asked(line, &content.to_string()), (ours(wanted), Some(merged)), "{line} {content}");
    }
    // The user's own are looked at.
    assert_eq!(asked("dockerd --tlsverify", "{}"), ("--tlsverify".to_owned(), None));
}
