//! The cryptography: rpgp, told what to look at.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pgp::composed::{CleartextSignedMessage, PublicOrSecret, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, VerifyingKey};

use super::policy::{self, Hash, KeyFacts, SignatureFacts};
use super::{Verified, Verifier, VerifyError};

/// OpenPGP keys, and the verification of clear-signed text with them.
#[derive(Debug)]
pub struct OpenPgp {
    keys: Vec<SignedPublicKey>,
}

impl OpenPgp {
    /// Reads key files, armoured or binary, each with any number of keys.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or parsed, or there is no key in any.
    pub fn from_files(paths: &[PathBuf]) -> Result<Self, VerifyError> {
        let mut keys = Vec::new();
        for path in paths {
            keys.extend(read_keys(path).map_err(|error| VerifyError::Keyring {
                path: path.clone(),
                reason: super::brief(&error),
            })?);
        }
        if keys.is_empty() { Err(VerifyError::NoKeyring) } else { Ok(Self { keys }) }
    }

    fn judge(&self, signature: &Signature, text: &str, now: i64) -> Result<String, String> {
        let mut reason = None;
        for key in &self.keys {
            let facts = primary_facts(key);
            if issued_by(signature, &key.primary_key) {
                match check(signature, &key.primary_key, &facts, text, now) {
                    Ok(signer) => return Ok(signer),
                    Err(why) => reason = Some(why),
                }
            }
            for subkey in &key.public_subkeys {
                if issued_by(signature, &subkey.key) {
                    let facts = subkey_facts(key, subkey, &facts);
                    match check(signature, &subkey.key, &facts, text, now) {
                        Ok(signer) => return Ok(signer),
                        Err(why) => reason = Some(why),
                    }
                }
            }
        }
        Err(reason.unwrap_or_else(|| format!("key {} is not in the keyring", issuer(signature))))
    }
}

impl Verifier for OpenPgp {
    fn verify(&self, clear_signed: &str, now: Timestamp) -> Result<Verified, VerifyError> {
        let (message, _) = CleartextSignedMessage::from_string(clear_signed)
            .map_err(|error| VerifyError::unreadable(clear_signed.as_bytes(), &error))?;
        let text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.judge(signature, &text, now.as_second()) {
                Ok(signer) => return Ok(Verified { text: text.replace("\r\n", "\n"), signer }),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(VerifyError::NoneAcceptable(reasons))
    }
}

fn read_keys(path: &Path) -> Result<Vec<SignedPublicKey>, Box<dyn std::error::Error + Send + Sync>> {
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    let (found, _) = PublicOrSecret::from_reader_many_buf(file)?;
    let mut keys = Vec::new();
    for key in found {
        if let PublicOrSecret::Public(key) = key? {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint();
    let ids = signature.issuer_key_id();
    fingerprints
        .first()
        .map(|fingerprint| format!("{fingerprint:X}"))
        .or_else(|| ids.first().map(|id| id.to_string().to_uppercase()))
        .unwrap_or_else(|| "of an unnamed issuer".to_owned())
}

fn check(
    signature: &Signature,
    key: &impl VerifyingKey,
    facts: &KeyFacts,
    text: &str,
    now: i64,
) -> Result<String, String> {
    let signer = format!("{:X}", key.fingerprint());
    signature
        .verify(key, text.as_bytes())
        .map_err(|_| format!("the signature by key {signer} does not fit the text"))?;
    policy::judge(&signature_facts(signature), facts, now)
        .map_err(|refusal| format!("the signature by key {signer} is refused: {refusal}"))?;
    Ok(signer)
}

fn signature_facts(signature: &Signature) -> SignatureFacts {
    let created = signature.created().map(|time| i64::from(time.as_secs()));
    let lifetime = signature.signature_expiration_time().map(|time| i64::from(time.as_secs()));
    SignatureFacts {
        hash: hash(signature),
        over_document: matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)),
        created,
        expires: ends(created, lifetime),
    }
}

fn hash(signature: &Signature) -> Hash {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha224
            | HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Hash::Strong,
        _ => Hash::Weak,
    }
}

/// A lifetime of zero means for ever.
fn ends(start: Option<i64>, lifetime: Option<i64>) -> Option<i64> {
    lifetime.filter(|seconds| *seconds > 0).and_then(|seconds| start.map(|start| start + seconds))
}

/// The newest of the owner's own, valid signatures counts.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(pgp::types::Timestamp::as_secs))
}

fn primary_facts(key: &SignedPublicKey) -> KeyFacts {
    let primary = &key.primary_key;
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.is_certification()
                && signature.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
        })
    });
    let own = newest(direct.chain(users).filter(|signature| hash(signature) == Hash::Strong));
    let created = i64::from(primary.created_at().as_secs());
    let lifetime = own.and_then(Signature::key_expiration_time).map(|time| i64::from(time.as_secs()));
    KeyFacts {
        created,
        expires: ends(Some(created), lifetime),
        revoked: key
            .details
            .revocation_signatures
            .iter()
            .any(|signature| signature.verify_key(primary).is_ok()),
        may_sign: own.is_some_and(|signature| signature.key_flags().sign()),
        bound: own.is_some(),
        strong: strong(primary.public_params()),
    }
}

fn subkey_facts(
    key: &SignedPublicKey,
    subkey: &pgp::composed::SignedPublicSubKey,
    primary: &KeyFacts,
) -> KeyFacts {
    let valid = || {
        subkey
            .signatures
            .iter()
            .filter(|signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok())
    };
    let binding = newest(valid().filter(|signature| {
        signature.typ() == Some(SignatureType::SubkeyBinding) && hash(signature) == Hash::Strong
    }));
    // The subkey must say itself that it belongs to the primary key; else anybody could claim another's subkey.
    let claimed_back = binding.and_then(Signature::embedded_signature).is_some_and(|back| {
        hash(back) == Hash::Strong && back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok()
    });
    let created = i64::from(subkey.key.created_at().as_secs());
    let lifetime = binding.and_then(Signature::key_expiration_time).map(|time| i64::from(time.as_secs()));
    let own_end = ends(Some(created), lifetime);
    KeyFacts {
        created,
        expires: [own_end, primary.expires].into_iter().flatten().min(),
        revoked: primary.revoked
            || valid().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)),
        may_sign: binding.is_some_and(|signature| signature.key_flags().sign()),
        bound: primary.bound && claimed_back,
        strong: strong(subkey.key.public_params()),
    }
}

fn strong(params: &PublicParams) -> bool {
    match params {
        // Length and bytes of the modulus, length and bytes of the exponent: 2048 bits at least.
        PublicParams::RSA(rsa) => rsa.write_len() > 2 + 256 + 2,
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => true,
        _ => false,
    }
}
