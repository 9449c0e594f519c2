//! Proxies: both spellings of each variable agree, and what is inside is reached without a proxy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::environment::bad;
use super::variables::{HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SERVICE_HOST};
use crate::Problem;

/// What the engine's environment gets; nothing where no proxy is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies(pub Vec<(String, String)>);

impl Proxies {
    /// The variables, with our own addresses among what is reached without a proxy.
    pub fn variables(&self, own: &[String]) -> Vec<(String, String)> {
        let with_own = |name: &str, value: &str| {
            if name.eq_ignore_ascii_case(NO_PROXY) {
                add(value, own.iter().map(String::as_str))
            } else {
                value.to_owned()
            }
        };
        self.0.iter().map(|(name, value)| (name.clone(), with_own(name, value))).collect()
    }
}

/// Reached without a proxy, always: ourselves, and the name that the engine's service has in CI.
const INSIDE: [&str; 4] = ["localhost", "127.0.0.1", "::1", "docker"];

/// Reads the variables; Go's HTTP client, which the engine uses, prefers the upper-case ones.
pub(super) fn read(env: &BTreeMap<String, String>) -> (Proxies, Vec<Problem>, Vec<String>) {
    let mut notices = Vec::new();
    let mut either = |name: &str| {
        let get = |name: &str| env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let lower = name.to_ascii_lowercase();
        if let (Some(a), Some(b)) = (get(name), get(&lower))
            && a != b
        {
            notices.push(format!("{lower} is not what {name} is, and gives way to it"));
        }
        get(name).or_else(|| get(&lower)).map(str::to_owned)
    };
    let proxies: Vec<(&str, String)> =
        [HTTP_PROXY, HTTPS_PROXY].into_iter().filter_map(|name| Some((name, either(name)?))).collect();
    let without = either(NO_PROXY);
    let problems = proxies
        .iter()
        .filter(|(_, value)| !is_proxy(value))
        .map(|(name, value)| bad(name, value, "the URL of a proxy", "http://proxy.example:3128"))
        .collect();
    if proxies.is_empty() {
        return (Proxies::default(), problems, notices);
    }
    let service = env.get(SERVICE_HOST).map(String::as_str).filter(|host| !host.is_empty());
    let without = add(without.as_deref().unwrap_or_default(), INSIDE.into_iter().chain(service));
    let all = proxies.into_iter().chain([(NO_PROXY, without)]);
    let both =
        all.flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_ascii_lowercase(), value)]);
    (Proxies(both.collect()), problems, notices)
}

/// The list with more hosts in it.
fn add<'a>(list: &'a str, more: impl Iterator<Item = &'a str>) -> String {
    let mut hosts: Vec<&str> = list.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    // Everything is reached without a proxy already.
    if !hosts.contains(&"*") {
        for host in more {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts.join(",")
}

/// As Go reads it (golang.org/x/net/http/httpproxy): what it cannot read, it leaves out without a word.
fn is_proxy(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(_, port)| port),
        None => Some(host.find(':').map_or("", |i| &host[i..])),
    };
    let is_port =
        |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(|n| n.parse::<u16>().is_ok());
    ["http", "https", "socks5", "socks5h"].contains(&scheme)
        && !host.is_empty()
        && !host.starts_with(':')
        && !text.contains(char::is_whitespace)
        && port.is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &[(&str, &str)]) -> (BTreeMap<String, String>, usize, usize) {
        let (proxies, problems, notices) =
            read(&env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        (proxies.0.into_iter().collect(), problems.len(), notices.len())
    }

    #[test]
    fn both_spellings_agree() {
        let (env, problems, notices) = of(&[("https_proxy", "http://p:1"), ("NO_PROXY", "a,localhost")]);
        assert_eq!((problems, notices), (0, 0));
        assert_eq!(env["HTTPS_PROXY"], "http://p:1");
        assert_eq!(env["https_proxy"], "http://p:1");
        assert_eq!(env["no_proxy"], "a,localhost,127.0.0.1,::1,docker");
        assert_eq!(env["NO_PROXY"], env["no_proxy"]);
        assert!(!env.contains_key("HTTP_PROXY"));
    }

    #[test]
    fn upper_case_wins_aloud() {
        let (env, _, notices) = of(&[("https_proxy", "http://a"), ("HTTPS_PROXY", "http://b")]);
        assert_eq!((env["https_proxy"].as_str(), notices), ("http://b", 1));
    }

    #[test]
    fn the_inside_is_added_only_to_a_proxy_pain_17() {
        assert!(of(&[("NO_PROXY", "a"), ("HTTP_PROXY", " ")]).0.is_empty());
        let with = |without: &str| {
            of(&[("HTTP_PROXY", "p:1"), ("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("NO_PROXY", without)]).0
        };
        assert_eq!(with("")["NO_PROXY"], "localhost,127.0.0.1,::1,docker,10.0.0.1");
        assert_eq!(with("*")["NO_PROXY"], "*");
    }

    #[test]
    fn our_own_addresses_are_added_when_they_are_known_pain_17() {
        let env = BTreeMap::from([("HTTP_PROXY".to_owned(), "p:1".to_owned())]);
        let variables = read(&env).0.variables(&["192.0.2.1".into(), "::1".into()]);
        let list = "localhost,127.0.0.1,::1,docker,192.0.2.1";
        for (name, value) in [("HTTP_PROXY", "p:1"), ("NO_PROXY", list), ("no_proxy", list)] {
            assert!(variables.contains(&(name.to_owned(), value.to_owned())), "{variables:?}");
        }
    }

    #[test]
    fn what_go_would_silently_ignore_is_told() {
        for good in ["http://p", "p:3128", "https://u:p@p:1/", "socks5://[::1]:1080", "http://[::1]"] {
            assert!(is_proxy(good), "{good}");
        }
        for bad in
            ["http:/p", "ftp://p", "http://", "http://p:port", "two words", "http://:3128", "http://[::1"]
        {
            assert!(!is_proxy(bad), "{bad}");
            assert_eq!(of(&[("HTTP_PROXY", bad)]).1, 1);
        }
    }
}
