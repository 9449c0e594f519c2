//! What the environment sets for the engine, as far as that can be told without knowing the engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::argv::given;
use super::engine::translate;
use super::join::repeats;
use super::options::scan;
use super::proxy::{self, Proxies};
use super::values::is_network;
use super::variables::*;
use crate::{Problem, masked_word};

/// Settings that are not on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Flags by `DOCKERD_<FLAG>`; which of them exist, and what they take, the engine knows.
    pub flags: Vec<Setting>,
    /// Flags that every engine has, weaker ones later.
    pub known: Vec<Setting>,
    /// `DOCKERD_CONFIG_JSON`.
    pub json: Option<String>,
    /// `DOCKER_EXTRA_CA`.
    pub extra_ca: Option<String>,
    /// `SSL_CERT_FILE`.
    pub cert_file: Option<String>,
    /// `DOCKER_DRIVER`, by the driver's name of today.
    pub driver: Option<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// Flags of [`super::argv::SECRET`] that a variable sets.
    pub secret: Vec<String>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What to tell about it.
    pub notices: Vec<String>,
}

/// A flag that a variable sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The variable, for messages.
    pub variable: String,
    /// The flag, without dashes.
    pub flag: String,
    /// As it stands in the variable.
    pub value: String,
}

/// The prefix of variables that stand for flags.
const PREFIX: &str = "DOCKERD_";

/// Whether a variable with our prefix is somebody else's: options of rootless mode's scripts (moby, contrib), or about a service.
fn is_foreign(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest.starts_with("ROOTLESS_") || is_about_service(rest)
}

/// Whether the rest of a name after `DOCKERD_` or the like is what Kubernetes says of a Service that is called `dockerd`, or
/// `dockerd-cache` (kubernetes.io, "Accessing the Service"), or Docker of a linked container (docs.docker.com, "Legacy
/// container links").
pub(super) fn is_about_service(rest: &str) -> bool {
    let is_it = |word: &str| rest == word || rest.ends_with(&format!("_{word}"));
    let has = |part: &str| rest.starts_with(part) || rest.contains(&format!("_{part}"));
    let port = rest.starts_with("PORT_").then_some(0).or_else(|| rest.find("_PORT_").map(|at| at + 1));
    let number = port.map(|at| &rest[at + "PORT_".len()..]);
    ["PORT", "SERVICE_HOST", "NAME"].into_iter().any(is_it)
        || ["SERVICE_PORT", "ENV_"].into_iter().any(has)
        || number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

impl Environment {
    /// Reads the variables. An empty one is as good as none.
    pub fn read(env: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| env.get(name).map(String::as_str).filter(|value| !value.trim().is_empty());
        let own = |name: &str| get(name).map(str::to_owned);
        let mut out = Self {
            json: own(CONFIG_JSON),
            extra_ca: own(EXTRA_CA),
            cert_file: own(CERT_FILE),
            ..Self::default()
        };
        let flags = env
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && *name != CONFIG_JSON && !is_foreign(name));
        out.flags = flags
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| Setting {
                variable: name.clone(),
                flag: name[PREFIX.len()..].to_ascii_lowercase().replace('_', "-"),
                value: value.clone(),
            })
            .collect();
        if let Some(words) = get(DAEMON_ARGS) {
            out.read_words(words);
        }
        for (variable, flag) in
            [(MTU, "mtu"), (REGISTRY_MIRROR, "registry-mirror"), (INSECURE_REGISTRY, "insecure-registry")]
        {
            if let Some(value) = get(variable) {
                out.read_alias(variable, flag, value);
            }
        }
        out.read_pool(get(POOL_BASE), get(POOL_SIZE));
        out.check_api_version(get(MIN_API_VERSION));
        out.read_driver(get(DRIVER));
        out.notices.extend(env.keys().filter_map(|name| slip(name)));
        if env.keys().any(|name| name.starts_with("DOCKERD_ROOTLESS_")) {
            out.notices.push("DOCKERD_ROOTLESS_* say nothing here: the engine runs as root".to_owned());
        }
        (out.proxies, out.problems) = {
            let (proxies, mut problems, mut notices) = proxy::read(env);
            out.notices.append(&mut notices);
            out.problems.append(&mut problems);
            (proxies, out.problems)
        };
        out
    }

    /// Words as a shell would split them, but nothing in them is expanded.
    fn read_words(&mut self, text: &str) {
        let Some(words) = shlex::split(text) else {
            self.problems.push(
                Problem::new(format!("{DAEMON_ARGS} has a quote that is never closed"))
                    .remedy("close it", format!("{DAEMON_ARGS}='--label \"a=b c\"'")),
            );
            return;
        };
        let (words, mut notices) = translate(&words);
        let is_option = |word: &str| word.len() > 1 && word.starts_with('-') && word != "--";
        let options: Vec<&str> = scan(&words).map(|option| option.name).collect();
        if let Some(at) = options.iter().position(|name| !is_option(name)) {
            // The word itself may be half of a secret.
            let place = match at.checked_sub(1) {
                Some(before) => format!("it follows `{}`", options[before]),
                None => "it is the first one".to_owned(),
            };
            self.problems.push(
                Problem::new(format!("a word of {DAEMON_ARGS} is no option of dockerd")).cause(place).remedy(
                    "give options only, and values with spaces in quotes",
                    format!("{DAEMON_ARGS}=\"--mtu 1450 --label 'a=b c'\""),
                ),
            );
        }
        self.notices.append(&mut notices);
        self.known.extend(given(&words).iter().map(|option| Setting {
            variable: DAEMON_ARGS.into(),
            flag: option.name.to_owned(),
            value: option.value.unwrap_or("true").to_owned(),
        }));
    }

    fn read_alias(&mut self, variable: &str, flag: &str, value: &str) {
        if variable == MTU && value.trim().parse::<u32>().is_err() {
            self.problems.push(bad(variable, value, "a whole number", "1450"));
            return;
        }
        let values: Vec<&str> =
            if repeats(flag) { value.split([',', ';', '\n']).collect() } else { vec![value] };
        self.known.extend(values.iter().map(|v| v.trim()).filter(|v| !v.is_empty()).map(|value| Setting {
            variable: variable.into(),
            flag: flag.into(),
            value: value.into(),
        }));
    }

    fn read_pool(&mut self, base: Option<&str>, size: Option<&str>) {
        match (base, size) {
            (Some(base), Some(size)) => {
                let is_size = size.trim().parse::<u8>().is_ok_and(|size| size <= 128);
                if !is_network(base.trim()) {
                    self.problems.push(bad(POOL_BASE, base, "a network", "10.10.0.0/16"));
                } else if !is_size {
                    self.problems.push(bad(POOL_SIZE, size, "a prefix length", "24"));
                } else {
                    self.known.push(Setting {
                        variable: POOL_BASE.into(),
                        flag: "default-address-pool".into(),
                        value: format!("base={},size={}", base.trim(), size.trim()),
                    });
                }
            }
            (Some(_), None) => self.problems.push(lonely(POOL_BASE, POOL_SIZE, "24")),
            (None, Some(_)) => self.problems.push(lonely(POOL_SIZE, POOL_BASE, "10.10.0.0/16")),
            (None, None) => {}
        }
    }

    /// dockerd reads it itself, and knows its own limits.
    fn check_api_version(&mut self, value: Option<&str>) {
        let is_version = |v: &str| {
            v.split_once('.').is_some_and(|(a, b)| a.parse::<u16>().is_ok() && b.parse::<u16>().is_ok())
        };
        if let Some(value) = value.filter(|v| !is_version(v)) {
            self.problems.push(bad(MIN_API_VERSION, value, "a version of the API", "1.40"));
        }
    }

    /// dockerd reads it itself. A driver may also be a plugin, so only what is nearly one of its own is taken for a mistake.
    fn read_driver(&mut self, value: Option<&str>) {
        const DRIVERS: &[&str] =
            &["overlay2", "overlayfs", "fuse-overlayfs", "btrfs", "zfs", "vfs", "native"];
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        if value == "overlay" {
            self.notices.push(format!("`{DRIVER}=overlay` is now `{DRIVER}=overlay2`"));
        }
        let value = if value == "overlay" { "overlay2" } else { value };
        self.driver = Some(value.to_owned());
        if let Some(problem) = super::removed::find_driver(value) {
            self.problems.push(problem);
            return;
        }
        let is_name = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:".contains(&b));
        let near = DRIVERS.iter().find(|known| strsim::osa_distance(value, known) == 1);
        if !DRIVERS.contains(&value) && (near.is_some() || !is_name) {
            self.problems.push(bad(DRIVER, value, "a storage driver", near.unwrap_or(&"overlay2")));
        }
    }
}

/// What to tell of a variable that is one slip of the finger away from one of ours. It may be somebody else's: `DOCKER_*` is not
/// ours alone.
fn slip(name: &str) -> Option<String> {
    const OURS: &[&str] = &[CERTDIR, DEBUG, EXTRA_CA, REAP, SAN, TLS_VERIFY];
    let may_be_ours = ["DOCKER_TLS_", "DOCKER_EXTRA_", "DOCKER_LAUNCH_"].iter().any(|p| name.starts_with(p));
    let meant = OURS.iter().filter(|_| may_be_ours).find(|ours| strsim::osa_distance(name, ours) <= 1)?;
    (*meant != name).then(|| format!("{name} means nothing to the launcher; did you mean {meant}?"))
}

/// A variable whose value makes no sense.
pub(super) fn bad(variable: &str, value: &str, expected: &str, example: &str) -> Problem {
    Problem::new(format!("{variable} is `{}`", masked_word(value)))
        .cause(format!("expected {expected}"))
        .remedy("write it like this", format!("{variable}={example}"))
}

/// One of two variables that only make sense together.
fn lonely(there: &str, missing: &str, example: &str) -> Problem {
    Problem::new(format!("{there} is set and {missing} is not"))
        .cause("an address pool has both")
        .remedy("set the other one too", format!("{missing}={example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Environment {
        Environment::read(&env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn known(env: &[(&str, &str)]) -> Vec<String> {
        let env = read(env);
        assert_eq!(env.problems, []);
        env.known.iter().map(|s| format!("{}={}", s.flag, s.value)).collect()
    }

    #[test]
    fn names_of_runner_charts_are_flags() {
        assert_eq!(known(&[("MTU", " 1450 ")]), ["mtu=1450"]);
        assert_eq!(
            known(&[("DOCKER_REGISTRY_MIRROR", "http://a, http://b")]),
            ["registry-mirror=http://a", "registry-mirror=http://b"]
        );
        assert_eq!(known(&[("DOCKER_INSECURE_REGISTRY", "a:5000")]), ["insecure-registry=a:5000"]);
        assert_eq!(
            known(&[
                ("DOCKER_DEFAULT_ADDRESS_POOL_BASE", "10.1.0.0/16"),
                ("DOCKER_DEFAULT_ADDRESS_POOL_SIZE", "24")
            ]),
            ["default-address-pool=base=10.1.0.0/16,size=24"]
        );
        assert!(known(&[("MTU", ""), ("DOCKER_DEFAULT_ADDRESS_POOL_SIZE", " ")]).is_empty());
    }

    #[test]
    fn words_are_split_as_by_a_shell() {
        assert_eq!(
            known(&[("DOCKER_DAEMON_ARGS", "-D --label 'a=b c' --label=\"d=$HOME\" -s overlay -g /x")]),
            ["debug=true", "label=a=b c", "label=d=$HOME", "storage-driver=overlay2", "data-root=/x"]
        );
    }

    #[test]
    fn what_belongs_to_others_is_left_alone() {
        let env = read(&[
            ("DOCKERD_ROOTLESS_ROOTLESSKIT_MTU", "1400"),
            ("DOCKERD_PORT", "tcp://10.0.0.1:2376"),
            ("DOCKERD_PORT_2376_TCP", "tcp://10.0.0.1:2376"),
            ("DOCKERD_SERVICE_HOST", "10.0.0.1"),
            ("DOCKERD_CACHE_SERVICE_HOST", "10.0.0.1"),
            ("DOCKERD_CACHE_SERVICE_PORT_HTTP", "80"),
            ("DOCKERD_CACHE_PORT", "tcp://10.0.0.1:80"),
            ("DOCKERD_CACHE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("DOCKERD_NAME", "/a/dockerd"),
            ("DOCKERD_ENV_LANG", "C"),
            ("DOCKERD_MTU", ""),
            ("DOCKERD_CONFIG_JSON", "{}"),
            ("DOCKERD_ROOTLESS", "true"),
        ]);
        assert_eq!(env.flags.iter().map(|s| s.flag.as_str()).collect::<Vec<_>>(), ["rootless"]);
        assert_eq!(env.json.as_deref(), Some("{}"));
    }

    #[test]
    fn nonsense_is_named_with_the_expected_form() {
        for (name, value) in [
            ("MTU", "fast"),
            ("MTU", "-1"),
            ("DOCKER_DEFAULT_ADDRESS_POOL_BASE", "10.1.0.0/16"),
            ("DOCKER_DEFAULT_ADDRESS_POOL_SIZE", "24"),
            ("DOCKER_DAEMON_ARGS", "--label 'a"),
            ("DOCKER_DAEMON_ARGS", "daemon -D"),
            ("DOCKER_MIN_API_VERSION", "v1.40"),
            ("DOCKER_MIN_API_VERSION", "new"),
            ("DOCKER_DRIVER", "overlay3"),
            ("DOCKER_DRIVER", "aufs"),
            ("DOCKER_DRIVER", "over lay"),
        ] {
            let problems = read(&[(name, value)]).problems;
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert!(problems[0].what.contains(name) || value == "aufs", "{}", problems[0].what);
            assert!(!problems[0].hints.is_empty());
        }
        for (base, size) in [("10.1.0.0", "24"), ("10.1.0.0/16", "big")] {
            let env =
                [("DOCKER_DEFAULT_ADDRESS_POOL_BASE", base), ("DOCKER_DEFAULT_ADDRESS_POOL_SIZE", size)];
            assert_eq!(read(&env).problems.len(), 1, "{base} {size}");
        }
    }

    #[test]
    fn no_flag_is_taken_for_a_service() {
        let help = include_str!("../../fixtures/dockerd/help-28.5.txt");
        let flags = crate::facts::dockerd_flags::parse_help(help);
        let names: Vec<String> =
            flags.iter().map(|flag| flag.name.to_ascii_uppercase().replace('-', "_")).collect();
        assert!(names.len() > 50);
        for name in names {
            assert!(!is_about_service(&name), "{name}");
        }
    }

    #[test]
    fn names_that_are_nearly_ours_are_told_and_no_others() {
        for (name, meant) in [
            ("DOCKER_TLS_CERT_DIR", "DOCKER_TLS_CERTDIR"),
            ("DOCKER_TLS_SANS", "DOCKER_TLS_SAN"),
            ("DOCKER_EXTRA_CAS", "DOCKER_EXTRA_CA"),
            ("DOCKER_LAUNCH_REPA", "DOCKER_LAUNCH_REAP"),
        ] {
            let env = read(&[(name, "")]);
            assert_eq!(env.notices.len(), 1, "{name}");
            assert!(env.notices[0].contains(name) && env.notices[0].ends_with(&format!(" {meant}?")));
            assert_eq!(env.problems, []);
        }
        for name in ["DOCKER_TLS_SAN", "DOCKER_TLS_PORT", "DOCKER_HOSTS", "DOCKER_EXTRA_ARGS"] {
            assert_eq!(read(&[(name, "x")]).notices, [""; 0], "{name}");
        }
    }

    #[test]
    fn no_part_of_a_secret_is_told() {
        for (name, value, cause) in [
            ("DOCKER_DAEMON_ARGS", "--log-opt gelf-password=abc S3CRETXY", "it follows `--log-opt`"),
            ("DOCKER_DAEMON_ARGS", "S3CRET -D", "it is the first one"),
            ("HTTP_PROXY", "http://u:S3CRET RET@proxy", "expected the URL of a proxy"),
        ] {
            let problems = read(&[(name, value)]).problems;
            let shown = format!("{problems:?}");
            assert!(!shown.contains("S3C") && !shown.contains("RET@"), "{shown}");
            assert_eq!(problems[0].causes, [cause]);
        }
    }

    #[test]
    fn drivers_pass() {
        for driver in ["overlay2", "overlayfs", "vfs", "zfs", "btrfs", "vieux/sshfs:latest", "overlaybd", ""]
        {
            assert_eq!(
                read(&[("DOCKER_DRIVER", driver), ("DOCKER_MIN_API_VERSION", "1.24")]).problems,
                [],
                "{driver}"
            );
        }
        let old = read(&[("DOCKER_DRIVER", "overlay")]);
        assert_eq!((old.driver.as_deref(), old.notices.len()), (Some("overlay2"), 1));
    }
}
