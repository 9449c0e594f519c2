//! Private keys in every form that dockerd reads: PKCS#8, PKCS#1 and SEC 1 (Go, crypto/tls, `parsePrivateKey`).

use pkcs1::RsaPrivateKey;
use pkcs8::PrivateKeyInfo;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use sec1::{EcParameters, EcPrivateKey};
use serde::{Deserialize, Serialize};
use x509_cert::der::asn1::{Any, BitString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::{hex, key_id};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// What is known of a private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What kind it is.
    pub kind: Kind,
    /// What stands for its public half ([`super::key_id`]); `None` where the file does not tell it.
    pub id: Option<String>,
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// ECDSA on the curve P-256: what we make.
    P256,
    /// RSA: what `docker:dind` makes.
    Rsa,
    /// Another one. dockerd may well use it; we cannot sign with it.
    Other,
}

/// A private key, without what is private of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateKey {
    /// What kind it is.
    pub kind: Kind,
    /// Its public half, where the file tells it.
    pub public: Option<SubjectPublicKeyInfoOwned>,
}

impl PrivateKey {
    /// What the rules may know.
    pub fn fact(&self) -> Key {
        let id = self.public.as_ref().map(|public| hex(&key_id(public.subject_public_key.raw_bytes())));
        Key { kind: self.kind, id }
    }
}

/// Reads the first private key of a PEM file.
///
/// # Errors
/// Why there is none that dockerd could use, in words.
pub fn parse_key(pem: &[u8]) -> Result<PrivateKey, String> {
    let encrypted =
        |line: &[u8]| line.starts_with(b"-----BEGIN ENCRYPTED") || line.starts_with(b"Proc-Type:");
    if pem.split(|byte| *byte == b'\n').any(encrypted) {
        return Err("the key is encrypted, and dockerd takes no passphrase".into());
    }
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => "there is no private key in PEM form in it".to_owned(),
        other => format!("it is no whole PEM file: {other:?}"),
    })?;
    let parsed = match &der {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => ec(key.secret_sec1_der(), None),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        _ => return Err("it is a private key of an unknown form".into()),
    };
    parsed.map_err(|_| "its private key is cut off or damaged".to_owned())
}

type Parsed = x509_cert::der::Result<PrivateKey>;

fn pkcs8(der: &[u8]) -> Parsed {
    let info = PrivateKeyInfo::from_der(der)?;
    match info.algorithm.oid {
        RSA => rsa(info.private_key),
        EC => ec(info.private_key, info.algorithm.parameters_oid().ok()),
        oid => {
            let algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
            let public = info.public_key.map(|bits| public(algorithm, bits)).transpose()?;
            Ok(PrivateKey { kind: Kind::Other, public })
        }
    }
}

fn rsa(der: &[u8]) -> Parsed {
    let public_key = RsaPrivateKey::from_der(der)?.public_key().to_der()?;
    let algorithm = AlgorithmIdentifierOwned { oid: RSA, parameters: Some(Any::null()) };
    Ok(PrivateKey { kind: Kind::Rsa, public: Some(public(algorithm, &public_key)?) })
}

fn ec(der: &[u8], curve: Option<ObjectIdentifier>) -> Parsed {
    let key = EcPrivateKey::from_der(der)?;
    let curve = curve.or(key.parameters.and_then(EcParameters::named_curve));
    let parameters = curve.map(|curve| Any::encode_from(&curve)).transpose()?;
    let algorithm = AlgorithmIdentifierOwned { oid: EC, parameters };
    let public = key.public_key.map(|bits| public(algorithm, bits)).transpose()?;
    Ok(PrivateKey { kind: if curve == Some(P256) { Kind::P256 } else { Kind::Other }, public })
}

fn public(
    algorithm: AlgorithmIdentifierOwned,
    bits: &[u8],
) -> x509_cert::der::Result<SubjectPublicKeyInfoOwned> {
    Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key: BitString::from_bytes(bits)? })
}
