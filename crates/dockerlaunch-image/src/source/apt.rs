//! apt's own configuration: the mirrors it uses, the keys it trusts, the checks it makes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One archive that apt is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    /// Base URL, without a slash at the end.
    pub uri: String,
    /// The suites apt takes from it.
    pub suites: Vec<String>,
    /// Key files of its `Signed-By`.
    pub signed_by: Vec<PathBuf>,
}

/// What we take over from apt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSettings {
    /// Archives, in apt's order.
    pub sources: Vec<AptSource>,
    /// `Acquire::Check-Valid-Until`.
    pub check_valid_until: bool,
    /// `Acquire::Check-Date`.
    pub check_date: bool,
}

impl AptSettings {
    /// The settings of a host that has no apt: no archive, every check on.
    #[must_use]
    pub fn none() -> Self {
        Self { sources: Vec::new(), check_valid_until: true, check_date: true }
    }

    /// Reads this host's settings. What is missing or unreadable is left at apt's own default, because a host without
    /// apt is no error: then the user names a mirror.
    #[must_use]
    pub fn from_host() -> Self {
        let mut settings = Self { sources: read_sources(Path::new("/etc/apt")), ..Self::none() };
        if let Ok(output) = Command::new("apt-config").arg("dump").env("LC_ALL", "C").output() {
            let dump = String::from_utf8_lossy(&output.stdout);
            settings.check_valid_until = parse_switch(&dump, "Acquire::Check-Valid-Until").unwrap_or(true);
            settings.check_date = parse_switch(&dump, "Acquire::Check-Date").unwrap_or(true);
        }
        settings
    }
}

/// The sources under an apt configuration directory, in apt's order.
#[must_use]
pub fn read_sources(directory: &Path) -> Vec<AptSource> {
    let mut files = vec![directory.join("sources.list")];
    let mut parts: Vec<PathBuf> = std::fs::read_dir(directory.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    parts.sort();
    files.extend(parts);
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_one_line(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// Parses the one-line format: `deb [option=value …] URI suite component …`.
#[must_use]
pub fn parse_one_line(text: &str) -> Vec<AptSource> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<AptSource> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let uri = words.next()?;
    let suite = words.next()?;
    let signed_by = options
        .split_whitespace()
        .filter_map(|option| option.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("signed-by"))
        .flat_map(|(_, value)| value.split(','))
        .filter(|value| value.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    Some(AptSource { uri: trim_uri(uri)?, suites: vec![suite.to_owned()], signed_by })
}

/// Parses the deb822 format of `.sources` files.
#[must_use]
pub fn parse_deb822(text: &str) -> Vec<AptSource> {
    let mut sources = Vec::new();
    for stanza in stanzas(text) {
        let field = |name: &str| {
            stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let words = |name: &str| field(name).unwrap_or_default().split_whitespace();
        let disabled =
            field("Enabled").is_some_and(|value| matches!(value.trim(), "no" | "false" | "0" | "off"));
        if disabled || !words("Types").any(|word| word == "deb") {
            continue;
        }
        // A Signed-By may also hold the key itself; such a source's keys are then not used, only its mirror.
        let signed_by: Vec<PathBuf> =
            words("Signed-By").filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
        for uri in words("URIs").filter_map(trim_uri) {
            sources.push(AptSource {
                uri,
                suites: words("Suites").map(str::to_owned).collect(),
                signed_by: signed_by.clone(),
            });
        }
    }
    sources
}

/// Splits deb822 text into stanzas of (field, value); lines of a folded value are joined with a newline.
pub(crate) fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if !stanza.is_empty() {
                all.push(std::mem::take(&mut stanza));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    if !stanza.is_empty() {
        all.push(stanza);
    }
    all
}

/// Only http and https can be fetched from; `mirror+file:`, `cdrom:` and the rest are passed over.
fn trim_uri(uri: &str) -> Option<String> {
    (uri.starts_with("http://") || uri.starts_with("https://")).then(|| uri.trim_end_matches('/').to_owned())
}

/// The last setting of a switch in the output of `apt-config dump`, where lines read `Name "value";`.
fn parse_switch(dump: &str, name: &str) -> Option<bool> {
    dump.lines()
        .filter_map(|line| line.trim().strip_suffix("\";")?.split_once(" \""))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| {
            !matches!(
                value.to_ascii_lowercase().as_str(),
                "false" | "no" | "0" | "off" | "without" | "disable"
            )
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_line_sources() {
        let text = "# comment\n\
            deb http://a.example/debian/ bookworm main contrib # trailing\n\
            deb-src http://a.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k/a.gpg,/k/b.asc] https://b.example/x stable main\n\
            deb cdrom:[Debian]/ bookworm main\n\
            debug http://c.example x main\n\
            deb http://d.example\n";
        let sources = parse_one_line(text);
        assert_eq!(
            sources,
            [
                AptSource {
                    uri: "http://a.example/debian".to_owned(),
                    suites: vec!["bookworm".to_owned()],
                    signed_by: vec![]
                },
                AptSource {
                    uri: "https://b.example/x".to_owned(),
                    suites: vec!["stable".to_owned()],
                    signed_by: vec!["/k/a.gpg".into(), "/k/b.asc".into()]
                },
            ]
        );
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb deb-src\n# comment\nURIs: http://a.example/debian/ http://b.example/debian\n\
            Suites: x x-updates\nComponents: main\nSigned-By: /k/a.gpg\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: x\n\n\
            Types: deb-src\nURIs: http://src.example\nSuites: x\n\n\
            types: deb\nuris:\n http://folded.example\nsuites: y\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let sources = parse_deb822(text);
        let uris: Vec<&str> = sources.iter().map(|source| source.uri.as_str()).collect();
        assert_eq!(uris, ["http://a.example/debian", "http://b.example/debian", "http://folded.example"]);
        assert_eq!(sources[0].suites, ["x", "x-updates"]);
        assert_eq!(sources[0].signed_by, [PathBuf::from("/k/a.gpg")]);
        assert!(sources[2].signed_by.is_empty());
    }

    #[test]
    fn switches_of_apt_config() {
        let dump =
            "Acquire \"\";\nAcquire::Check-Valid-Until \"true\";\nAcquire::check-valid-until \"False\";\n";
        assert_eq!(parse_switch(dump, "Acquire::Check-Valid-Until"), Some(false));
        assert_eq!(parse_switch(dump, "Acquire::Check-Date"), None);
        assert_eq!(parse_switch("X \"1\";", "X"), Some(true));
    }

    #[test]
    fn a_directory_is_read_in_apts_order() {
        let directory = tempfile::tempdir().unwrap();
        let parts = directory.path().join("sources.list.d");
        std::fs::create_dir(&parts).unwrap();
        std::fs::write(directory.path().join("sources.list"), "deb http://1.example s main\n").unwrap();
        std::fs::write(parts.join("b.list"), "deb http://3.example s main\n").unwrap();
        std::fs::write(parts.join("a.sources"), "Types: deb\nURIs: http://2.example\nSuites: s\n").unwrap();
        std::fs::write(parts.join("c.list.save"), "deb http://4.example s main\n").unwrap();
        let uris: Vec<String> = read_sources(directory.path()).into_iter().map(|source| source.uri).collect();
        assert_eq!(uris, ["http://1.example", "http://2.example", "http://3.example"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            let _ = (parse_one_line(&text), parse_deb822(&text), parse_switch(&text, "A"));
        }
    }
}
