//! TLS as the environment asks for it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::settings::joined;
use super::variables::{CERTDIR, SAN};
use crate::Problem;
use crate::facts::tls::is_dns_name;

/// Where certificates are kept unless [`CERTDIR`] names another place.
pub const DEFAULT_DIRECTORY: &str = "/certs";

/// TLS as the environment asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The directory; `None` when TLS is not wanted.
    pub directory: Option<String>,
    /// What the server's certificate is valid for besides this machine's own names: `DNS:x`, `IP:y`.
    pub names: Vec<String>,
    /// What in the variables makes no sense.
    pub mistakes: Option<Problem>,
    /// What is passed over, one line each.
    #[serde(default)]
    pub notices: Vec<String>,
}

impl Tls {
    /// Reads the values of [`CERTDIR`] and [`SAN`].
    pub fn read(directory: Option<&str>, san: Option<&str>) -> Self {
        let mut tls = Self::default();
        let mut mistakes = Vec::new();
        match directory.unwrap_or(DEFAULT_DIRECTORY) {
            "" => {}
            path => {
                tls.directory = Some(path.trim_end_matches('/').to_owned());
                if !path.starts_with('/') {
                    mistakes.push(
                        Problem::new(format!("`{CERTDIR}={path}` makes no sense"))
                            .cause("expected an absolute path, or nothing at all")
                            .remedy("write", format!("{CERTDIR}=/{path}"))
                            .remedy("to go without TLS", format!("{CERTDIR}=")),
                    );
                }
            }
        }
        let words = san.unwrap_or_default().split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        for word in words {
            match alternative_name(word) {
                Some(name) => tls.names.push(name),
                None if is_of_another_kind(word) => {
                    tls.notices.push(format!(
                        "`{word}` in {SAN} is passed over: clients look for names and addresses"
                    ));
                }
                None => mistakes.push(
                    Problem::new(format!("`{word}` in {SAN} is neither a name nor an address"))
                        .cause("expected names and addresses, separated by commas")
                        .remedy("write, for example", format!("{SAN}=docker,build.example.org,192.0.2.7")),
                ),
            }
        }
        tls.mistakes = joined(mistakes);
        tls
    }
}

/// `DNS:x` or `IP:y`, from that or from the plain name or address. A name may be written with the dot of the root, an address
/// with the brackets of a URL.
fn alternative_name(word: &str) -> Option<String> {
    let (kind, value) = match word.split_once(':') {
        Some((kind, value)) if kind.eq_ignore_ascii_case("DNS") => ("DNS", value),
        Some((kind, value)) if kind.eq_ignore_ascii_case("IP") => ("IP", value),
        _ => ("", word),
    };
    let address = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    let name = value.strip_suffix('.').unwrap_or(value);
    match (kind, address.parse::<IpAddr>()) {
        ("DNS", _) if is_dns_name(name) => Some(format!("DNS:{}", name.to_ascii_lowercase())),
        ("IP" | "", Ok(address)) => Some(format!("IP:{address}")),
        ("", Err(_)) if is_dns_name(name) => Some(format!("DNS:{}", name.to_ascii_lowercase())),
        _ => None,
    }
}

/// What else OpenSSL takes as an alternative name (x509v3_config(5)), and `docker:dind` therefore too.
fn is_of_another_kind(word: &str) -> bool {
    const KINDS: &[&str] = &["URI", "email", "RID", "dirName", "otherName"];
    word.split_once(':').is_some_and(|(kind, _)| KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_is_the_usual_place_and_empty_is_no_tls() {
        assert_eq!(Tls::read(None, None).directory.as_deref(), Some("/certs"));
        assert_eq!(Tls::read(Some("/x/y/"), None).directory.as_deref(), Some("/x/y"));
        let off = Tls::read(Some(""), None);
        assert!(off.directory.is_none() && off.mistakes.is_none());
    }

    #[test]
    fn plain_names_and_openssl_spelling_are_understood_pain_18() {
        let san = "dind,192.0.2.7, DNS:Build.Example.org IP:fd00::7\nip:192.0.2.8,fd00::8,*.dind,DNS:1.2.3.4";
        assert_eq!(
            Tls::read(None, Some(san)).names,
            [
                "DNS:dind",
                "IP:192.0.2.7",
                "DNS:build.example.org",
                "IP:fd00::7",
                "IP:192.0.2.8",
                "IP:fd00::8",
                "DNS:*.dind",
                "DNS:1.2.3.4"
            ]
        );
    }

    #[test]
    fn nonsense_is_named_with_the_expected_form() {
        for (directory, san, word) in [
            (Some("certs"), None, "certs"),
            (None, Some("a,https://b"), "https://b"),
            (None, Some("IP:docker"), "IP:docker"),
            (None, Some("DNS:"), "DNS:"),
            (None, Some("1.2.3.4:2376"), "1.2.3.4:2376"),
            (None, Some("ä"), "ä"),
        ] {
            let problem = Tls::read(directory, san).mistakes.expect(word);
            assert!(problem.what.contains(word), "{problem}");
            assert!(!problem.causes.is_empty() && !problem.hints.is_empty());
        }
    }

    #[test]
    fn what_is_written_another_way_is_understood() {
        let tls = Tls::read(
            None,
            Some("docker.example.org.,[fd00::7],IP:[fd00::8],DNS:x.,URI:spiffe://a/b,email:me@x"),
        );
        let wanted = ["DNS:docker.example.org", "IP:fd00::7", "IP:fd00::8", "DNS:x"];
        assert_eq!((tls.names.as_slice(), &tls.mistakes), (wanted.map(str::to_owned).as_slice(), &None));
        assert!(tls.notices.len() == 2 && tls.notices[0].contains("URI:spiffe://a/b"), "{:?}", tls.notices);
    }

    #[test]
    fn all_mistakes_are_told() {
        let problem =
            Tls::read(Some("certs"), Some("https://b,IP:docker,a..b,.,[x]")).mistakes.expect("five");
        for word in ["certs", "https://b", "IP:docker", "a..b", "`.`", "[x]"] {
            let is_in = |text: &String| text.contains(word);
            assert!(is_in(&problem.what) || problem.causes.iter().any(is_in), "{word}: {problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(directory in ".{0,8}", san in "([a-z.:,*]|IP:|DNS:|[^a]){0,16}") {
            let tls = Tls::read(Some(&directory), Some(&san));
            for name in tls.names {
                assert!(name.strip_prefix("DNS:").is_none_or(is_dns_name));
            }
        }
    }
}
