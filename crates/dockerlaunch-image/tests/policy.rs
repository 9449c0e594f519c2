//! Which signatures a build accepts: real keys and real signatures, each with one thing wrong.
//!
//! The table itself is tested beside it; here is what rpgp makes of a keyring and an InRelease before the table sees it.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::fs::File;

use dockerlaunch_image::source::SourceError;
use dockerlaunch_image::verify::VerifyError;
use dockerlaunch_image::{BuildError, Silent, build};
use pgp::composed::{
    CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{Duration, Password, SigningKey, Tag, Timestamp};
use repository::{FORKY, Fixture, RELEASE, release};

const DAY: u32 = 86_400;

fn days_ago(days: u32) -> Timestamp {
    Timestamp::from_secs(Timestamp::now().as_secs() - days * DAY)
}

/// A key of a month ago that may sign.
fn params() -> SecretKeyParamsBuilder {
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(days_ago(30))
        .primary_user_id("Test archive <test@example.com>".to_owned());
    params
}

fn key(params: &SecretKeyParamsBuilder) -> SignedSecretKey {
    params.build().unwrap().generate(rand::thread_rng()).unwrap()
}

/// How a signature is made.
struct Draft {
    kind: SignatureType,
    hash: HashAlgorithm,
    created: Timestamp,
    more: Vec<SubpacketData>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            kind: SignatureType::Text,
            hash: HashAlgorithm::Sha256,
            created: Timestamp::now(),
            more: vec![],
        }
    }
}

impl Draft {
    fn config(self, key: &impl SigningKey) -> SignatureConfig {
        let mut config = SignatureConfig::v4(self.kind, key.algorithm(), self.hash);
        let always = [
            SubpacketData::SignatureCreationTime(self.created),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
        ];
        let all = always.into_iter().chain(self.more);
        config.hashed_subpackets = all.map(|data| Subpacket::regular(data).unwrap()).collect();
        config
    }

    fn sign(self, key: &impl SigningKey, text: &str) -> Signature {
        self.config(key).sign(key, &Password::empty(), text.as_bytes()).unwrap()
    }
}

/// Certifies a key's name anew, in place of the certification that it has.
fn certify_anew(key: &mut SignedSecretKey, hash: HashAlgorithm, more: Vec<SubpacketData>) {
    let user = &mut key.details.users[0];
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let more = [vec![SubpacketData::KeyFlags(flags)], more].concat();
    let draft = Draft { kind: SignatureType::CertPositive, hash, created: days_ago(20), more };
    let certification = draft
        .config(&key.primary_key)
        .sign_certification(
            &key.primary_key,
            key.primary_key.public_key(),
            &Password::empty(),
            Tag::UserId,
            &user.id,
        )
        .unwrap();
    user.signatures = vec![certification];
}

/// Builds from an archive with these signatures; what is said of each that is refused.
fn verdict(
    keyring: &[&SignedSecretKey],
    sign: impl FnOnce(&str) -> Vec<Signature>,
) -> Result<(), Vec<String>> {
    let fixture = Fixture::new();
    let mut file = File::create(fixture.path("keyring.gpg")).unwrap();
    for &key in keyring {
        SignedPublicKey::from(key.clone()).to_writer(&mut file).unwrap();
    }
    let (text, mut files) = release(&FORKY, "forky");
    let message = CleartextSignedMessage::new_many(&text, |text| Ok(sign(text))).unwrap();
    files.insert(RELEASE.to_owned(), message.to_armored_string(Default::default()).unwrap().into_bytes());
    fixture.server.replace(files);
    match build(&fixture.request(), &Silent) {
        Ok(_) => Ok(()),
        Err(BuildError::Source(SourceError::Verify {
            source: VerifyError::NoneAcceptable(reasons), ..
        })) => {
            assert_eq!(fixture.left_over(), Vec::<String>::new());
            Err(reasons)
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// One signature by the one key, refused for this reason.
#[track_caller]
fn refused(key: &SignedSecretKey, draft: Draft, reason: &str) {
    let reasons = verdict(&[key], |text| vec![draft.sign(&key.primary_key, text)]).unwrap_err();
    let [only] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert!(only.ends_with(reason), "not `{reason}`: {only}");
}

#[test]
fn a_good_signature_is_accepted() {
    let mut key = key(&params());
    assert_eq!(verdict(&[&key], |text| vec![Draft::default().sign(&key.primary_key, text)]), Ok(()));
    // What the tests below make anew is good but for what they change.
    let year = SubpacketData::KeyExpirationTime(Duration::from_secs(365 * DAY));
    certify_anew(&mut key, HashAlgorithm::Sha256, vec![year]);
    let day = SubpacketData::SignatureExpirationTime(Duration::from_secs(DAY));
    let draft = Draft { more: vec![day], created: days_ago(0), ..Draft::default() };
    assert_eq!(verdict(&[&key], |text| vec![draft.sign(&key.primary_key, text)]), Ok(()));
}

#[test]
fn an_expired_key_is_refused() {
    let mut key = key(&params());
    let ten_days = SubpacketData::KeyExpirationTime(Duration::from_secs(10 * DAY));
    certify_anew(&mut key, HashAlgorithm::Sha256, vec![ten_days]);
    refused(&key, Draft { created: days_ago(25), ..Draft::default() }, "its key has expired");
}

#[test]
fn a_revoked_key_is_refused() {
    let mut key = key(&params());
    let revocation = Draft { kind: SignatureType::KeyRevocation, ..Draft::default() }
        .config(&key.primary_key)
        .sign_key(&key.primary_key, &Password::empty(), key.primary_key.public_key())
        .unwrap();
    key.details.revocation_signatures.push(revocation);
    refused(&key, Draft { created: days_ago(25), ..Draft::default() }, "its key was revoked");
}

#[test]
fn a_weak_hash_is_refused() {
    let mut key = key(params().key_type(KeyType::Rsa(2048)));
    let sha1 = || Draft { hash: HashAlgorithm::Sha1, ..Draft::default() };
    refused(&key, sha1(), "its hash function is too weak");
    certify_anew(&mut key, HashAlgorithm::Sha1, vec![]);
    refused(&key, Draft::default(), "nothing valid binds its key to its owner");
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    refused(&key(params().can_sign(false)), Draft::default(), "its key may not sign");
}

#[test]
fn a_signature_out_of_its_time_is_refused() {
    let key = key(&params());
    let tomorrow = Timestamp::from_secs(Timestamp::now().as_secs() + DAY);
    refused(
        &key,
        Draft { created: tomorrow, ..Draft::default() },
        "it was made in the future (is this host's clock right?)",
    );
    let day = SubpacketData::SignatureExpirationTime(Duration::from_secs(DAY));
    let expired = Draft { created: days_ago(2), more: vec![day], ..Draft::default() };
    refused(&key, expired, "it has expired");
    refused(&key, Draft { created: days_ago(31), ..Draft::default() }, "it is older than its key");
}

#[test]
fn a_signature_over_something_else_is_refused() {
    let key = key(&params());
    let reasons =
        verdict(&[&key], |text| vec![Draft::default().sign(&key.primary_key, &text.replace("forky", "sid"))]);
    assert!(reasons.unwrap_err()[0].ends_with("does not fit the text"));
}

#[test]
fn of_two_signatures_one_good_one_is_enough() {
    let (old, new) = (key(&params()), key(&params()));
    let both = |text: &str| [&old, &new].map(|key| Draft::default().sign(&key.primary_key, text)).to_vec();
    assert_eq!(verdict(&[&new], both), Ok(()), "the first one's key is not in the keyring");
    assert_eq!(verdict(&[&old], both), Ok(()), "the second one's key is not in the keyring");
    let reasons = verdict(&[&key(&params())], both).unwrap_err();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    let one_bad = |text: &str| {
        let late = Draft { created: days_ago(31), ..Draft::default() };
        vec![late.sign(&old.primary_key, text), Draft::default().sign(&new.primary_key, text)]
    };
    assert_eq!(verdict(&[&old, &new], one_bad), Ok(()));
}

#[test]
fn a_subkey_signs_for_the_key_that_it_belongs_to() {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .created_at(days_ago(30))
        .build()
        .unwrap();
    let owner = key(params().subkey(subkey.clone()));
    let by_subkey = |text: &str| vec![Draft::default().sign(&owner.secret_subkeys[0].key, text)];
    assert_eq!(verdict(&[&owner], by_subkey), Ok(()));
    // Somebody else claims it; it does not say so itself.
    let mut thief = key(&params());
    let mut stolen = owner.secret_subkeys[0].clone();
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    let more = vec![SubpacketData::KeyFlags(flags)];
    let claim = Draft { kind: SignatureType::SubkeyBinding, more, ..Draft::default() }
        .config(&thief.primary_key)
        .sign_subkey_binding(
            &thief.primary_key,
            thief.primary_key.public_key(),
            &Password::empty(),
            stolen.key.public_key(),
        )
        .unwrap();
    stolen.signatures = vec![claim];
    thief.secret_subkeys.push(stolen);
    let reasons = verdict(&[&thief], by_subkey).unwrap_err();
    assert!(reasons[0].ends_with("nothing valid binds its key to its owner"), "{reasons:?}");
}
