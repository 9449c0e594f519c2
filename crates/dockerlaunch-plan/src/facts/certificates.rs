//! CA certificates as PEM text (RFC 7468).

use serde::{Deserialize, Serialize};

/// Where the system's certificates and the extra ones stand together.
pub const BUNDLE: &str = "/run/dockerlaunch/ca-certificates.crt";

/// Where systems keep their bundle: the places where Go looks (crypto/x509, root_linux.go).
pub const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Directories that people mount certificates into: Debian's for local ones, and one that images for CI use.
pub const DIRECTORIES: &[&str] = &["/usr/local/share/ca-certificates", "/certs.d"];

/// CA certificates besides the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtraCa {
    /// The system's bundle.
    pub system: Option<String>,
    /// Where more were found or asked for.
    pub sources: Vec<Source>,
    /// Whether the system's bundle has them all already.
    pub known: bool,
    /// Whether [`BUNDLE`] is what would be written.
    pub bundled: bool,
}

/// A place that certificates come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file; `None` for the text of the variable itself.
    pub path: Option<String>,
    /// Whether `DOCKER_EXTRA_CA` names it; else it lay in one of the [`DIRECTORIES`].
    pub asked: bool,
    /// Why it cannot be used.
    pub error: Option<String>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Whether the text is certificates and no path.
pub fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// The certificates in a text, each with its marks; whatever stands between them, a private key too, is left out.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let length = rest[start..].find(END).ok_or("a certificate has no end mark")? + END.len();
        let certificate = &rest[start..start + length];
        let body = certificate[BEGIN.len()..].trim_end_matches(END);
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c) || c.is_whitespace();
        // DER begins with a sequence (0x30), which is `M` in base64.
        if !body.trim_start().starts_with('M') || !body.chars().all(is_base64) {
            return Err("what stands between the marks is no certificate");
        }
        found.push(certificate);
        rest = &rest[start + length..];
    }
    if found.is_empty() { Err("there is no PEM certificate in it") } else { Ok(found) }
}

/// One text with each certificate once.
pub fn bundle<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut seen = std::collections::BTreeSet::new();
    let mut out = String::new();
    for certificate in texts.into_iter().filter_map(|text| parse(text).ok()).flatten() {
        if seen.insert(essence(certificate)) {
            out.push_str(certificate);
            out.push('\n');
        }
    }
    out
}

/// Whether `all` has every certificate of `some`.
pub fn contains(all: &str, some: &str) -> bool {
    let known: std::collections::BTreeSet<String> =
        parse(all).unwrap_or_default().into_iter().map(essence).collect();
    parse(some).unwrap_or_default().into_iter().all(|certificate| known.contains(&essence(certificate)))
}

/// The same certificate may be broken into lines in another way.
fn essence(certificate: &str) -> String {
    certificate.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(body: &str) -> String {
        format!("{BEGIN}\n{body}\n{END}\n")
    }

    #[test]
    fn certificates_are_told_from_other_text() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
        let text = format!("# a comment\n{}{key}{}", pem("MIIA"), pem("MIIB\r\nMIIC"));
        assert_eq!(parse(&text).expect("two").len(), 2);
        assert!(!bundle([text.as_str()]).contains("PRIVATE KEY"));
        for bad in ["", "0\u{82}", key, BEGIN, &format!("{BEGIN}\n{END}"), &pem("<html>"), &pem("AAAA")] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_certificate_is_there_once() {
        let (a, b) = (pem("MIIA"), pem("MI\nIB"));
        let all = bundle([a.as_str(), "nothing", b.as_str(), a.as_str(), &pem("MII\nB")]);
        assert_eq!(parse(&all).expect("two").len(), 2);
        assert!(contains(&all, &pem("MIIB")) && !contains(&a, &b));
    }
}
