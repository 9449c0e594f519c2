//! Which signatures we accept. rpgp says whether a signature is mathematically right; everything else is decided here.

use std::fmt;

/// How far a signer's clock may be ahead of ours, in seconds.
const CLOCK_TOLERANCE: i64 = 300;

/// Hash functions, as far as the policy tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-2 or SHA-3 with at least 224 bits.
    Strong,
    /// MD5, SHA-1, RIPEMD-160, or one we do not know.
    Weak,
}

/// What a signature says about itself. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureFacts {
    /// Its hash function.
    pub hash: Hash,
    /// Whether it is a signature over a document, not a certification.
    pub over_document: bool,
    /// When it was made.
    pub created: Option<i64>,
    /// When it ends.
    pub expires: Option<i64>,
}

/// What the keyring says about the key that made a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// When the key was made.
    pub created: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// Whether its owner revoked it.
    pub revoked: bool,
    /// Whether its flags allow it to sign.
    pub may_sign: bool,
    /// Whether its owner's own signature binds it, with a strong hash.
    pub bound: bool,
    /// Whether its algorithm and size are strong enough.
    pub strong: bool,
}

/// Why a signature, though mathematically right, is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// MD5, SHA-1 or unknown.
    WeakHash,
    /// Not a signature over a document.
    WrongKind,
    /// It does not say when it was made.
    Undated,
    /// Made in the future.
    FromTheFuture,
    /// The signature has expired.
    SignatureExpired,
    /// The key was made after the signature.
    OlderThanKey,
    /// The key has expired.
    KeyExpired,
    /// The key was revoked.
    KeyRevoked,
    /// The key may not sign.
    KeyMayNotSign,
    /// Nothing valid binds the key to its owner.
    KeyUnbound,
    /// The key is too weak.
    KeyWeak,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WeakHash => "its hash function is too weak",
            Self::WrongKind => "it is not a signature over a document",
            Self::Undated => "it does not say when it was made",
            Self::FromTheFuture => "it was made in the future (is this host's clock right?)",
            Self::SignatureExpired => "it has expired",
            Self::OlderThanKey => "it is older than its key",
            Self::KeyExpired => "its key has expired",
            Self::KeyRevoked => "its key was revoked",
            Self::KeyMayNotSign => "its key may not sign",
            Self::KeyUnbound => "nothing valid binds its key to its owner",
            Self::KeyWeak => "its key is too weak",
        })
    }
}

/// Decides on a signature that is mathematically right.
///
/// # Errors
///
/// The first reason against it.
pub fn judge(signature: &SignatureFacts, key: &KeyFacts, now: i64) -> Result<(), Refusal> {
    let created = signature.created.ok_or(Refusal::Undated)?;
    let table = [
        (signature.hash == Hash::Weak, Refusal::WeakHash),
        (!signature.over_document, Refusal::WrongKind),
        (created > now + CLOCK_TOLERANCE, Refusal::FromTheFuture),
        (signature.expires.is_some_and(|end| end <= now), Refusal::SignatureExpired),
        (created < key.created, Refusal::OlderThanKey),
        (key.revoked, Refusal::KeyRevoked),
        (key.expires.is_some_and(|end| end <= now), Refusal::KeyExpired),
        (!key.bound, Refusal::KeyUnbound),
        (!key.may_sign, Refusal::KeyMayNotSign),
        (!key.strong, Refusal::KeyWeak),
    ];
    table.into_iter().find(|(refused, _)| *refused).map_or(Ok(()), |(_, refusal)| Err(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;
    const SIGNATURE: SignatureFacts =
        SignatureFacts { hash: Hash::Strong, over_document: true, created: Some(NOW - 10), expires: None };
    const KEY: KeyFacts = KeyFacts {
        created: NOW - 1000,
        expires: None,
        revoked: false,
        may_sign: true,
        bound: true,
        strong: true,
    };

    #[test]
    fn a_plain_good_signature_is_accepted() {
        assert_eq!(judge(&SIGNATURE, &KEY, NOW), Ok(()));
        let late = SignatureFacts { created: Some(NOW + CLOCK_TOLERANCE), ..SIGNATURE };
        assert_eq!(judge(&late, &KEY, NOW), Ok(()), "clocks may differ a little");
        let ends_later = SignatureFacts { expires: Some(NOW + 1), ..SIGNATURE };
        assert_eq!(judge(&ends_later, &KeyFacts { expires: Some(NOW + 1), ..KEY }, NOW), Ok(()));
    }

    #[test]
    fn each_fault_of_a_signature_refuses_it() {
        let cases = [
            (SignatureFacts { hash: Hash::Weak, ..SIGNATURE }, Refusal::WeakHash),
            (SignatureFacts { over_document: false, ..SIGNATURE }, Refusal::WrongKind),
            (SignatureFacts { created: None, ..SIGNATURE }, Refusal::Undated),
            (
                SignatureFacts { created: Some(NOW + CLOCK_TOLERANCE + 1), ..SIGNATURE },
                Refusal::FromTheFuture,
            ),
            (SignatureFacts { expires: Some(NOW), ..SIGNATURE }, Refusal::SignatureExpired),
            (SignatureFacts { created: Some(KEY.created - 1), ..SIGNATURE }, Refusal::OlderThanKey),
        ];
        for (signature, refusal) in cases {
            assert_eq!(judge(&signature, &KEY, NOW), Err(refusal));
        }
    }

    #[test]
    fn each_fault_of_a_key_refuses_its_signature() {
        let cases = [
            (KeyFacts { revoked: true, ..KEY }, Refusal::KeyRevoked),
            (KeyFacts { expires: Some(NOW), ..KEY }, Refusal::KeyExpired),
            (KeyFacts { bound: false, ..KEY }, Refusal::KeyUnbound),
            (KeyFacts { may_sign: false, ..KEY }, Refusal::KeyMayNotSign),
            (KeyFacts { strong: false, ..KEY }, Refusal::KeyWeak),
        ];
        for (key, refusal) in cases {
            assert_eq!(judge(&SIGNATURE, &key, NOW), Err(refusal));
        }
    }
}
