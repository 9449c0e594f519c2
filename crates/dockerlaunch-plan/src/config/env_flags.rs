//! `DOCKERD_<FLAG>`: any flag that the engine has, set by a variable.

use super::argv::SECRET;
use super::environment::{Environment, Setting, bad};
use super::join::{join, repeats};
use super::values::{check, split};
use super::{Config, nearest, variables};
use crate::facts::dockerd_flags::Flag;
use crate::{Problem, masked_word};

/// Flags that make the engine print something and end.
const ONLY_INFORM: &[&str] = &["help", "validate", "version"];

impl Environment {
    /// Whether the engine's flags must be known to understand it.
    pub fn needs_flags(&self) -> bool {
        !self.flags.is_empty()
    }
}

impl Config {
    /// Puts what the environment sets behind the command line, which wins. `flags` are the engine's, or why they are not
    /// known.
    pub fn apply_environment(&mut self, flags: Result<&[Flag], &str>) {
        let mut args = std::mem::take(&mut self.engine.args);
        let notices = &mut self.engine.notices;
        notices.append(&mut self.environment.notices);
        let settings = std::mem::take(&mut self.environment.flags);
        let known = std::mem::take(&mut self.environment.known);
        let all = settings.iter().chain(&known).map(|setting| &setting.flag);
        self.environment.secret.extend(all.filter(|flag| SECRET.contains(&flag.as_str())).cloned());
        let (own, aliases): (Vec<Setting>, Vec<Setting>) =
            known.into_iter().partition(|setting| setting.variable == variables::DAEMON_ARGS);
        let join_known = |args: &mut Vec<String>, notices: &mut Vec<String>, setting: &Setting| {
            let Setting { variable, flag, value } = setting;
            let option = masked_word(&format!("--{flag}={value}"));
            join(args, notices, flag, &[value], repeats(flag), &format!("`{option}` of {variable}"));
        };
        own.iter().for_each(|setting| join_known(&mut args, notices, setting));
        match flags {
            Ok(flags) => {
                for setting in &settings {
                    match values(setting, flags) {
                        Ok((repeat, values)) => {
                            let values: Vec<&str> = values.iter().map(String::as_str).collect();
                            join(&mut args, notices, &setting.flag, &values, repeat, &setting.variable);
                        }
                        Err(problem) => self.environment.problems.push(problem),
                    }
                }
            }
            Err(why) if !settings.is_empty() => self.environment.problems.push(
                Problem::new(format!("cannot tell what {} means to this engine", settings[0].variable))
                    .cause(why)
                    .hint("set the option on the command line or in daemon.json instead"),
            ),
            Err(_) => {}
        }
        aliases.iter().for_each(|setting| join_known(&mut args, notices, setting));
        self.engine.args = args;
    }
}

/// The values of a setting, and whether its flag repeats.
fn values(setting: &Setting, flags: &[Flag]) -> Result<(bool, Vec<String>), Problem> {
    let Setting { variable, flag: name, value } = setting;
    if ONLY_INFORM.contains(&name.as_str()) {
        return Err(Problem::new(format!("{variable} would make dockerd print something and end"))
            .remedy("ask it", format!("dockerlaunch dockerd --{name}")));
    }
    let Some(flag) = flags.iter().find(|flag| flag.name == *name) else {
        return Err(unknown(variable, name, flags));
    };
    let values = split(flag, value);
    let checked: Result<Vec<String>, _> = values.iter().map(|value| check(flag, value)).collect();
    match checked {
        Ok(values) => Ok((flag.kind.repeats(), values)),
        // The value may be half of a secret that was split at its commas, so it is not shown.
        Err((expected, example)) if flag.kind.repeats() => {
            Err(Problem::new(format!("{variable} has an entry that makes no sense"))
                .cause(format!("expected {expected}"))
                .remedy("write it like this", format!("{variable}={example}")))
        }
        Err((expected, example)) => Err(bad(variable, value, expected, example)),
    }
}

fn unknown(variable: &str, name: &str, flags: &[Flag]) -> Problem {
    let nearest = nearest(name, flags.iter().map(|flag| flag.name.as_str()));
    let problem = Problem::new(format!("{variable} is not a setting of this engine"))
        .cause(format!("it has no flag `--{name}`"));
    match nearest {
        Some(flag) => {
            let meant = format!("DOCKERD_{}", flag.to_ascii_uppercase().replace('-', "_"));
            problem.remedy("did you mean", meant)
        }
        None => problem.remedy("see which flags it has", "dockerlaunch dockerd --help"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::facts::dockerd_flags::parse_help;

    fn applied(line: &str, env: &[(&str, &str)]) -> Config {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let env: BTreeMap<String, String> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut config = Config::new(Engine::new("dockerd", &args), &env);
        config.apply_environment(Ok(&parse_help(include_str!("../../fixtures/dockerd/help-28.5.txt"))));
        config
    }

    fn args(line: &str, env: &[(&str, &str)]) -> String {
        let config = applied(line, env);
        assert_eq!(config.environment.problems, []);
        config.engine.args.join(" ")
    }

    #[test]
    fn variables_become_flags() {
        for (name, value, wanted) in [
            (
                "DOCKERD_REGISTRY_MIRROR",
                "https://a,https://b",
                "--registry-mirror=https://a --registry-mirror=https://b",
            ),
            ("DOCKERD_MTU", "1450", "--mtu=1450"),
            ("DOCKERD_DEBUG", "true", "--debug=true"),
            ("DOCKERD_USERLAND_PROXY", "no", "--userland-proxy=false"),
            ("DOCKERD_DEBUG", "", ""),
            ("DOCKERD_NO_PROXY", "a,b", "--no-proxy=a,b"),
            ("DOCKERD_DNS", "192.0.2.1,192.0.2.2", "--dns=192.0.2.1 --dns=192.0.2.2"),
            ("DOCKERD_LOG_OPT", "max-size=10m,max-file=3", "--log-opt=max-size=10m --log-opt=max-file=3"),
            ("DOCKERD_LOG_OPT", "labels=a,b;", "--log-opt=labels=a,b"),
            (
                "DOCKERD_DEFAULT_ADDRESS_POOL",
                "base=10.1.0.0/16,size=24",
                "--default-address-pool=base=10.1.0.0/16,size=24",
            ),
            ("DOCKERD_HOST", "unix:///run/x.sock", "--host=unix:///run/x.sock"),
            ("DOCKERD_CONFIG_FILE", "/x.json", "--config-file=/x.json"),
        ] {
            assert_eq!(args("", &[(name, value)]), wanted, "{name}={value}");
        }
    }

    #[test]
    fn the_command_line_wins_and_lists_are_joined() {
        assert_eq!(args("--mtu 1400", &[("DOCKERD_MTU", "1450"), ("MTU", "1300")]), "--mtu 1400");
        assert_eq!(
            applied("--mtu 1400", &[("DOCKERD_MTU", "1450"), ("MTU", "1300")]).engine.notices.len(),
            2
        );
        assert_eq!(args("--mtu 1400", &[("DOCKERD_MTU", "1400")]), "--mtu 1400");
        assert_eq!(args("-D", &[("DOCKERD_DEBUG", "false")]), "-D");
        assert_eq!(
            args(
                "--registry-mirror=http://a",
                &[("DOCKERD_REGISTRY_MIRROR", "http://b,http://a"), ("DOCKER_REGISTRY_MIRROR", "http://c")]
            ),
            "--registry-mirror=http://a --registry-mirror=http://b --registry-mirror=http://c"
        );
        assert_eq!(
            args(
                "",
                &[("DOCKERD_MTU", "1450"), ("DOCKER_DAEMON_ARGS", "--mtu 1400 -H fd://"), ("MTU", "1300")]
            ),
            "--mtu=1400 --host=fd://"
        );
    }

    #[test]
    fn unknown_names_are_errors_with_the_nearest() {
        for (name, nearest) in [
            ("DOCKERD_REGISTRY_MIRRORS", "DOCKERD_REGISTRY_MIRROR"),
            ("DOCKERD_INSECURE_REGISTRIES", "DOCKERD_INSECURE_REGISTRY"),
            ("DOCKERD_MUT", "DOCKERD_MTU"),
            ("DOCKERD_LOGLEVEL", "DOCKERD_LOG_LEVEL"),
        ] {
            let problems = applied("", &[(name, "x")]).environment.problems;
            assert_eq!(problems[0].hints[0].command.as_deref(), Some(nearest), "{problems:?}");
        }
        let problems = applied("", &[("DOCKERD_XYZZY", "x"), ("DOCKERD_MTU", "fast"), ("DOCKERD_HELP", "1")])
            .environment
            .problems;
        assert_eq!(problems.len(), 3, "all are told: {problems:?}");
        assert!(problems.iter().all(|p| p.what.contains("DOCKERD_") && !p.hints.is_empty()));
    }

    #[test]
    fn an_engine_that_cannot_be_asked_is_told() {
        let env =
            BTreeMap::from([("DOCKERD_MTU".to_owned(), "1".to_owned()), ("MTU".to_owned(), "2".to_owned())]);
        let mut config = Config::new(Engine::default(), &env);
        config.apply_environment(Err("it says nothing"));
        assert!(config.environment.problems[0].what.contains("DOCKERD_MTU"));
        assert_eq!(config.engine.args, ["--mtu=2"]);
        config.apply_environment(Err("again"));
        assert_eq!((config.engine.args.len(), config.environment.problems.len()), (1, 1), "once is enough");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_the_command_line_always_wins(
            line in proptest::collection::vec("(-D|--mtu=[0-9]|--dns=[0-9]|--label=[a-c]=[0-9]|--log-opt [a-c]=[0-9])", 0..4),
            mtu in "[0-9a-z-]{0,3}", dns in "[0-9.,;]{0,8}", label in "[a-c=0-9,]{0,8}", name in "DOCKERD_[A-Z_]{0,10}",
        ) {
            let line = line.join(" ");
            let given: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let config = applied(&line, &[("DOCKERD_MTU", &mtu), ("DOCKERD_DNS", &dns), ("DOCKERD_LABEL", &label), (&name, &dns)]);
            proptest::prop_assert_eq!(&config.engine.args[..given.len()], &given[..]);
            let has_mtu = given.iter().any(|a| a.starts_with("--mtu"));
            let more = config.engine.args[given.len()..].iter().filter(|a| a.starts_with("--mtu")).count();
            proptest::prop_assert!(more <= usize::from(!has_mtu));
        }
    }
}
