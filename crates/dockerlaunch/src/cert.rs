//! Makes keys and certificates. What is to be made is decided in `dockerlaunch_plan::rules::tls`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dockerlaunch_plan::ActionError;
use dockerlaunch_plan::facts::tls::{AUTHORITY, AUTHORITY_KEY, BACKDATED, LIFETIME, Role, key_id, parse_key};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rand_core::{OsRng, RngCore};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{
    Any, BitString, GeneralizedTime, Ia5String, OctetString, SetOfVec, UtcTime, Utf8StringRef,
};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode as _, Encode, EncodePem as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

use crate::atomic;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const RSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Makes a key, unless one is there.
pub(crate) fn make_key(path: &str, mode: u32) -> Result<(), ActionError> {
    let key = p256::SecretKey::random(&mut OsRng);
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(failed("make a key"))?;
    atomic::create(path, pem.as_bytes(), mode).map_err(io_failed(path))
}

/// Makes a certificate for a key.
pub(crate) fn issue(path: &str, key: &str, directory: &str, role: &Role) -> Result<(), ActionError> {
    let authority_path = format!("{directory}/{AUTHORITY}");
    let signer_path = format!("{directory}/{AUTHORITY_KEY}");
    let signer = Signer::read(&read(&signer_path)?).map_err(|error| broken(&signer_path, error))?;
    let public = parse_key(&read(key)?).map_err(|error| broken(key, &error))?.public;
    let public = public.ok_or_else(|| broken(key, "it does not hold its public half"))?;
    let authority = read(&authority_path).and_then(|pem| {
        certificate(&pem)
            .map(|certificate| certificate.tbs_certificate)
            .map_err(|why| broken(&authority_path, why))
    });
    let authority = match role {
        // The CA keeps the name that its certificate has, so that what it has signed stays valid.
        Role::Authority => authority
            .ok()
            .filter(|old| old.subject_public_key_info.subject_public_key == public.subject_public_key),
        _ => Some(authority?),
    };
    let certificate =
        sign(&signer, public, authority.as_ref(), role).map_err(failed("make a certificate"))?;
    let pem = certificate.to_pem(LineEnding::LF).map_err(failed("make a certificate"))?;
    atomic::replace(path, pem.as_bytes(), 0o644).map_err(io_failed(path))
}

/// The first certificate of a PEM file.
fn certificate(pem: &[u8]) -> Result<Certificate, &'static str> {
    let der = CertificateDer::from_pem_slice(pem).map_err(|_| "there is no certificate in it")?;
    Certificate::from_der(&der).map_err(|_| "its certificate is damaged")
}

/// What can go wrong is that a name is too long for its field.
fn sign(
    signer: &Signer,
    public: SubjectPublicKeyInfoOwned,
    authority: Option<&TbsCertificate>,
    role: &Role,
) -> x509_cert::der::Result<Certificate> {
    let is_authority = *role == Role::Authority;
    let issuer = match authority {
        Some(authority) => authority.subject.clone(),
        None => common_name(Role::Authority.common_name())?,
    };
    let subject = if is_authority { issuer.clone() } else { common_name(role.common_name())? };
    let own_id = OctetString::new(key_id(public.subject_public_key.raw_bytes()))?;
    let authority_id = match authority {
        None => own_id.clone(),
        Some(body) => match body.get::<SubjectKeyIdentifier>()? {
            Some((_, id)) => id.0,
            None => OctetString::new(key_id(body.subject_public_key_info.subject_public_key.raw_bytes()))?,
        },
    };
    let subject_id = if is_authority { authority_id.clone() } else { own_id };
    let mut extensions = vec![
        extension(&SubjectKeyIdentifier(subject_id), false)?,
        extension(
            &AuthorityKeyIdentifier { key_identifier: Some(authority_id), ..Default::default() },
            false,
        )?,
    ];
    match role {
        Role::Authority => {
            let constraints = BasicConstraints { ca: true, path_len_constraint: None };
            let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign);
            extensions.push(extension(&constraints, true)?);
            extensions.push(extension(&usage, true)?);
        }
        Role::Server { names } => {
            let names = names.iter().filter_map(|name| general_name(name)).collect();
            extensions.push(extension(&ExtendedKeyUsage(vec![SERVER_AUTH]), false)?);
            extensions.push(extension(&SubjectAltName(names), false)?);
        }
        Role::Client => extensions.push(extension(&ExtendedKeyUsage(vec![CLIENT_AUTH]), false)?),
    }
    let body = TbsCertificate {
        version: Version::V3,
        serial_number: serial_number()?,
        signature: signer.algorithm(),
        issuer,
        validity: validity()?,
        subject,
        subject_public_key_info: public,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    };
    let signature = signer.sign(&body.to_der()?);
    Ok(Certificate {
        signature_algorithm: body.signature.clone(),
        tbs_certificate: body,
        signature: BitString::from_bytes(&signature)?,
    })
}

fn extension<T: AssociatedOid + Encode>(value: &T, critical: bool) -> x509_cert::der::Result<Extension> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

fn common_name(name: &str) -> x509_cert::der::Result<RdnSequence> {
    let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value: Any::from(Utf8StringRef::new(name)?) };
    Ok(RdnSequence(vec![RelativeDistinguishedName(SetOfVec::try_from([attribute])?)]))
}

/// From `DNS:docker` or `IP:127.0.0.1`.
fn general_name(name: &str) -> Option<GeneralName> {
    if let Some(name) = name.strip_prefix("DNS:") {
        return Ia5String::new(name).ok().map(GeneralName::DnsName);
    }
    let bytes = match IpAddr::from_str(name.strip_prefix("IP:")?).ok()? {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    OctetString::new(bytes).ok().map(GeneralName::IpAddress)
}

/// 127 random bits: positive, and no longer than RFC 5280 allows.
fn serial_number() -> x509_cert::der::Result<SerialNumber> {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::new(&bytes)
}

fn validity() -> x509_cert::der::Result<Validity> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let from = now.saturating_sub(BACKDATED);
    Ok(Validity { not_before: time(from)?, not_after: time(from + LIFETIME)? })
}

/// UTCTime as long as it can say the year (RFC 5280, 4.1.2.5).
fn time(seconds: u64) -> x509_cert::der::Result<Time> {
    let since_epoch = Duration::from_secs(seconds);
    match UtcTime::from_unix_duration(since_epoch) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => GeneralizedTime::from_unix_duration(since_epoch).map(Time::GeneralTime),
    }
}

/// The CA's key: ours are ECDSA on P-256, those of `docker:dind` RSA.
enum Signer {
    P256(p256::ecdsa::SigningKey),
    Rsa(Box<rsa::pkcs1v15::SigningKey<rsa::sha2::Sha256>>),
}

impl Signer {
    fn read(pem: &[u8]) -> Result<Self, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no private key in it")?;
        let p256 = match &der {
            PrivateKeyDer::Pkcs8(key) => p256::SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Sec1(key) => p256::SecretKey::from_sec1_der(key.secret_sec1_der()).ok(),
            _ => None,
        };
        if let Some(key) = p256 {
            return Ok(Self::P256(key.into()));
        }
        let rsa = match &der {
            PrivateKeyDer::Pkcs8(key) => rsa::RsaPrivateKey::from_pkcs8_der(key.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Pkcs1(key) => rsa::RsaPrivateKey::from_pkcs1_der(key.secret_pkcs1_der()).ok(),
            _ => None,
        };
        let rsa = rsa.ok_or("it is neither an RSA key nor an ECDSA key on P-256, or it is damaged")?;
        Ok(Self::Rsa(Box::new(rsa::pkcs1v15::SigningKey::new(rsa))))
    }

    fn algorithm(&self) -> AlgorithmIdentifierOwned {
        match self {
            Self::P256(_) => AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
            Self::Rsa(_) => AlgorithmIdentifierOwned { oid: RSA_WITH_SHA256, parameters: Some(Any::null()) },
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::Rsa(key) => key.sign_with_rng(&mut OsRng, message).to_vec(),
        }
    }
}

fn read(path: &str) -> Result<Vec<u8>, ActionError> {
    fs::read(path).map_err(io_failed(path))
}

fn io_failed(path: &str) -> impl FnOnce(io::Error) -> ActionError + '_ {
    move |error| ActionError {
        call: path.to_owned(),
        reason: error.to_string(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

fn failed<E: std::fmt::Display>(call: &str) -> impl FnOnce(E) -> ActionError + '_ {
    move |error| ActionError { call: call.to_owned(), reason: error.to_string(), errno: 0 }
}

fn broken(path: &str, why: &str) -> ActionError {
    ActionError { call: path.to_owned(), reason: why.to_owned(), errno: 0 }
}
