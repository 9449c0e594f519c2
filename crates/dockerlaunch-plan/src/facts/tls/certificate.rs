//! X.509 certificates (RFC 5280).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{DateTime, Reader, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::name::Name;

use super::{hex, key_id};

/// What is known of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// What stands for its public key ([`super::key_id`]).
    pub key: String,
    /// The name that it gives its key (subject key identifier).
    pub identifier: Option<String>,
    /// The name of the key that signed it (authority key identifier).
    pub signer: Option<String>,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Valid from, in seconds since 1970.
    pub not_before: u64,
    /// Valid until.
    pub not_after: u64,
    /// What it is valid for: `DNS:docker`, `IP:127.0.0.1`.
    pub names: Vec<String>,
    /// SHA-256 of the whole.
    pub fingerprint: String,
}

impl Certificate {
    /// What certificates that this one's key signs call it.
    pub fn key_name(&self) -> &str {
        self.identifier.as_deref().unwrap_or(&self.key)
    }
}

/// Reads all certificates of a PEM file.
///
/// # Errors
/// Why there is none, or which of them is no whole certificate, in words.
pub fn parse_certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|error| format!("it is no whole PEM file: {error:?}"))?;
        found.push(parse(&der).map_err(|_| "a certificate in it is cut off or damaged".to_owned())?);
    }
    if found.is_empty() { Err("there is no certificate in PEM form in it".into()) } else { Ok(found) }
}

fn parse(der: &[u8]) -> x509_cert::der::Result<Certificate> {
    let mut reader = SliceReader::new(der)?;
    let certificate: x509_cert::Certificate = reader.decode()?;
    reader.finish(())?;
    let body = &certificate.tbs_certificate;
    let names = body.get::<SubjectAltName>()?.map_or_else(Vec::new, |(_, names)| names.0);
    let identifier = body.get::<SubjectKeyIdentifier>()?.map(|(_, id)| hex(id.0.as_bytes()));
    let signer = body.get::<AuthorityKeyIdentifier>()?.and_then(|(_, id)| id.key_identifier);
    Ok(Certificate {
        subject: text(&body.subject),
        issuer: text(&body.issuer),
        key: hex(&key_id(body.subject_public_key_info.subject_public_key.raw_bytes())),
        identifier,
        signer: signer.map(|id| hex(id.as_bytes())),
        is_authority: body.get::<BasicConstraints>()?.is_some_and(|(_, constraints)| constraints.ca),
        not_before: body.validity.not_before.to_unix_duration().as_secs(),
        not_after: body.validity.not_after.to_unix_duration().as_secs(),
        names: names.iter().filter_map(alternative_name).collect(),
        fingerprint: hex(&Sha256::digest(der)),
    })
}

/// `DNS:docker` or `IP:127.0.0.1`, as OpenSSL has it; other kinds of names do not concern us.
fn alternative_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{}", name.as_str().to_ascii_lowercase())),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|b| IpAddr::from(Ipv4Addr::from(b)));
            let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|b| Ipv6Addr::from(b).into()));
            address.ok().map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}

/// Attributes of a name that people write by letters (RFC 4514).
const ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
];

/// `CN=docker:dind CA`; good to compare and to read, not to parse again.
fn text(name: &Name) -> String {
    let mut out = String::new();
    for attribute in name.0.iter().flat_map(|rdn| rdn.0.iter()) {
        let separator = if out.is_empty() { "" } else { "," };
        let short = |oid: ObjectIdentifier| {
            ATTRIBUTES.iter().find(|(o, _)| *o == oid.to_string()).map(|(_, name)| (*name).to_owned())
        };
        let kind = short(attribute.oid).unwrap_or_else(|| attribute.oid.to_string());
        let value = &attribute.value;
        let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|s| s.as_str().to_owned());
        let printable = || value.decode_as::<PrintableStringRef<'_>>().map(|s| s.as_str().to_owned());
        let value = utf8.or_else(|_| printable()).unwrap_or_else(|_| format!("#{}", hex(value.value())));
        let _ = write!(out, "{separator}{kind}={value}");
    }
    out
}

/// A time for people: `2029-02-27T14:46:30Z`.
pub fn date(seconds: u64) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds));
    date.map_or_else(|_| format!("{seconds} s after 1970"), |date| date.to_string())
}
