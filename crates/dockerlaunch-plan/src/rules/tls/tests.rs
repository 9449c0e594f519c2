use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Problem;
use crate::config::Engine;
use crate::facts::Link;
use crate::facts::tls::{AUTHORITY, AUTHORITY_KEY, Certificate, File, Key, Kind};

const NOW: u64 = 1_764_000_000;
const DAY: u64 = 24 * 3600;

fn config(env: &[(&str, &str)]) -> Config {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::new(Engine::default(), &env)
}

fn empty() -> Facts {
    let mut facts = Facts::default();
    facts.tls.now = NOW;
    facts.tls.host_names = vec!["Box".into()];
    facts.links = vec![link("eth0", "192.0.2.7/24")];
    facts
}

fn link(name: &str, cidr: &str) -> Link {
    let addresses = vec![cidr.to_owned().try_into().expect("address")];
    Link { name: name.into(), up: true, addresses, ..Link::default() }
}

/// Facts after everything was done.
fn complete() -> Facts {
    let mut facts = empty();
    perform(make(&config(&[]), &empty()), &mut facts);
    for file in facts.tls.files.values_mut() {
        if let File::Certificates(all) = file {
            all.iter_mut().for_each(|c| c.fingerprint = format!("of {}", c.subject));
        }
    }
    facts
}

fn perform(verdict: Verdict, facts: &mut Facts) -> Vec<String> {
    match verdict {
        Verdict::Needed { actions } => {
            actions.iter().for_each(|action| action.predict(facts));
            actions.iter().map(ToString::to_string).collect()
        }
        Verdict::Blocked { problem } => panic!("{problem}"),
        _ => vec![],
    }
}

fn file<'a>(facts: &'a mut Facts, name: &str) -> &'a mut File {
    facts.tls.files.get_mut(&format!("/certs/{name}")).expect(name)
}

fn certificate<'a>(facts: &'a mut Facts, name: &str) -> &'a mut Certificate {
    match file(facts, name) {
        File::Certificates(all) => &mut all[0],
        other => panic!("{other:?}"),
    }
}

/// What is done at a next start, by both rules.
fn next(mut facts: Facts) -> (Vec<String>, Vec<String>) {
    let must = perform(make(&config(&[]), &facts), &mut facts);
    let may = perform(renew(&config(&[]), &facts), &mut facts);
    assert!(matches!(make(&config(&[]), &facts), Verdict::Satisfied { .. }));
    assert!(matches!(renew(&config(&[]), &facts), Verdict::Satisfied { .. }));
    (must, may)
}

fn blocked(facts: &Facts) -> Problem {
    match make(&config(&[]), facts) {
        Verdict::Blocked { problem } => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_directory_gets_everything_that_docker_dind_makes() {
    let mut facts = empty();
    let must = perform(make(&config(&[("DOCKER_TLS_SAN", "dind,192.0.2.8")]), &empty()), &mut facts);
    insta::assert_snapshot!(must.join("\n"), @r"
    make the key /certs/ca/key.pem
    issue the certificate /certs/ca/cert.pem
    make the key /certs/server/key.pem
    issue the certificate /certs/server/cert.pem for DNS:box, DNS:dind, DNS:docker, DNS:localhost, IP:127.0.0.1, IP:192.0.2.7, IP:192.0.2.8, IP:::1
    copy /certs/ca/cert.pem over /certs/server/ca.pem
    make the key /certs/client/key.pem
    issue the certificate /certs/client/cert.pem
    copy /certs/ca/cert.pem over /certs/client/ca.pem
    ");
}

#[test]
fn what_is_there_and_good_is_left_alone() {
    assert_eq!(next(complete()), (vec![], vec![]));
}

#[test]
fn only_what_is_no_good_is_made_anew_and_keys_are_kept() {
    fn of_another_ca(facts: &mut Facts) {
        facts.tls.files.retain(|path, _| path.contains("/client/"));
        certificate(facts, "client/cert.pem").signer = Some("lost".into());
    }
    type Change = fn(&mut Facts);
    let ca = "ca! ca>server ca>client";
    let cases: &[(Change, &str)] = &[
        (|f| f.tls.files.retain(|path, _| !path.contains("server")), "server+ server! ca>server"),
        (|f| *file(f, "server/cert.pem") = File::Broken("cut off".into()), "server!"),
        (|f| certificate(f, "server/cert.pem").not_after = NOW - 1, "server!"),
        (|f| certificate(f, "server/cert.pem").not_before = NOW + 1, "server!"),
        (|f| certificate(f, "server/cert.pem").key = "x".into(), "server!"),
        (|f| certificate(f, "client/cert.pem").signer = Some("x".into()), "client!"),
        (|f| certificate(f, "client/cert.pem").issuer = "CN=x".into(), "client!"),
        (|f| certificate(f, "client/ca.pem").fingerprint = "x".into(), "ca>client"),
        (|f| certificate(f, AUTHORITY).not_after = NOW - 1, ca),
        (|f| certificate(f, AUTHORITY).is_authority = false, ca),
        (|f| *file(f, AUTHORITY) = File::Broken("cut off".into()), ca),
        (|f| certificate(f, AUTHORITY).key = "x".into(), ca),
        (of_another_ca, "ca+ ca! server+ server! ca>server client! ca>client"),
    ];
    // A key made, a certificate issued, one copied.
    let short = |action: &String| {
        let words: Vec<&str> = action.split_whitespace().collect();
        let folder = |path: &str| path.split('/').nth(2).unwrap_or_default().to_owned();
        match words[0] {
            "make" => format!("{}+", folder(words[3])),
            "issue" => format!("{}!", folder(words[3])),
            _ => format!("{}>{}", folder(words[1]), folder(words[3])),
        }
    };
    for (i, (change, wanted)) in cases.iter().enumerate() {
        let mut facts = complete();
        change(&mut facts);
        let (must, may) = next(facts);
        assert_eq!(must.iter().map(short).collect::<Vec<_>>().join(" "), *wanted, "case {i}");
        assert!(may.is_empty(), "case {i}: {may:?}");
    }
}

#[test]
fn what_is_good_but_not_for_long_or_not_for_all_is_renewed_where_that_can_be() {
    let mut facts = complete();
    certificate(&mut facts, "server/cert.pem").not_after = NOW + 412 * DAY;
    let (must, may) = next(facts);
    assert!(
        must.is_empty() && may.len() == 1 && may[0].contains("/certs/server/cert.pem"),
        "{must:?} {may:?}"
    );

    let mut facts = complete();
    certificate(&mut facts, "server/cert.pem").not_after = NOW + 413 * DAY;
    assert_eq!(next(facts), (vec![], vec![]));

    let mut facts = complete();
    facts.links.push(link("eth1", "192.0.2.9/24"));
    let (must, may) = next(facts);
    assert!(must.is_empty() && may.len() == 1 && may[0].contains("IP:192.0.2.9"), "{must:?} {may:?}");

    // The CA's certificate alone: its key and name stay, so what it has signed does too.
    let mut facts = complete();
    certificate(&mut facts, AUTHORITY).not_after = NOW + 412 * DAY;
    let (must, may) = next(facts);
    assert!(must.is_empty() && may.len() == 3 && !may.join("").contains("key"), "{must:?} {may:?}");
}

#[test]
fn clients_can_read_their_key_again_pain_19() {
    for (mode, wanted) in [(0o600, true), (0o640, true), (0o644, false), (0o666, false)] {
        let mut facts = complete();
        facts.tls.client_key_mode = Some(mode);
        let (must, may) = next(facts);
        assert!(must.is_empty() && may.is_empty() != wanted, "{mode:o}: {must:?} {may:?}");
    }
}

#[test]
fn a_clock_that_is_behind_is_told() {
    let mut facts = empty();
    assert_eq!(warning(&config(&[]), &facts), None);
    facts.tls.now = 300;
    let told = warning(&config(&[]), &facts).expect("a warning");
    assert!(told.contains("1970-01-01T00:05:00Z"), "{told}");
    assert_eq!(warning(&config(&[("DOCKER_TLS_CERTDIR", "")]), &facts), None);
}

#[test]
fn a_ca_of_somebody_elses_keeps_its_name() {
    let mut facts = complete();
    *file(&mut facts, AUTHORITY_KEY) = File::Key(Key { kind: Kind::Rsa, id: Some("theirs".into()) });
    let authority = Certificate {
        subject: "O=Example".into(),
        key: "theirs".into(),
        identifier: None,
        not_after: NOW - 1,
        ..certificate(&mut facts, AUTHORITY).clone()
    };
    *file(&mut facts, AUTHORITY) = File::Certificates(vec![authority]);
    perform(make(&config(&[]), &facts), &mut facts.clone());
    let mut after = facts.clone();
    perform(make(&config(&[]), &facts), &mut after);
    assert_eq!(certificate(&mut after, AUTHORITY).subject, "O=Example");
    assert_eq!(certificate(&mut after, "server/cert.pem").issuer, "O=Example");
    assert_eq!(next(after), (vec![], vec![]));
}

#[test]
fn certificates_of_the_users_own_are_only_looked_at() {
    let mut own = complete();
    own.tls.files.remove("/certs/ca/key.pem");
    let Verdict::Satisfied { evidence } = make(&config(&[]), &own) else { panic!("satisfied") };
    assert!(evidence.contains("the user's own, valid until 2028-02-27T"), "{evidence}");
    assert!(matches!(renew(&config(&[]), &own), Verdict::Skipped { .. }));
    type Change = fn(&mut Facts);
    let cases: Vec<(Change, &str)> = vec![
        (|f| *file(f, "server/cert.pem") = File::Broken("it is cut off".into()), "it is cut off"),
        (|f| *file(f, "server/key.pem") = File::Broken("permission denied".into()), "permission denied"),
        (|f| *file(f, "server/ca.pem") = File::Broken("no PEM".into()), "no PEM"),
        (|f| certificate(f, "server/cert.pem").not_after = NOW - DAY, "it ended 2025-11-23T"),
        (|f| certificate(f, "server/cert.pem").not_before = NOW + DAY, "valid only from 2025-11-25T"),
        (|f| certificate(f, "server/cert.pem").key = "another".into(), "is for another key"),
        (|f| certificate(f, "server/ca.pem").not_after = NOW - DAY, "lets no client in"),
    ];
    for (change, word) in cases {
        let mut facts = own.clone();
        change(&mut facts);
        let problem = blocked(&facts);
        assert!(problem.to_string().contains(word) && !problem.hints.is_empty(), "{word}: {problem}");
    }
    // One that is not ours and not whole is never replaced by ours.
    for name in ["server/ca.pem", "server/key.pem"] {
        let mut facts = own.clone();
        facts.tls.files.retain(|path, _| path.starts_with("/certs/server/") && !path.ends_with(name));
        let problem = blocked(&facts);
        assert!(problem.what.contains(name) && problem.hints.len() == 2, "{problem}");
        assert!(matches!(renew(&config(&[]), &facts), Verdict::Skipped { .. }));
    }
    // A key whose public half cannot be told is dockerd's to judge.
    *file(&mut own, "server/key.pem") = File::Key(Key { kind: Kind::Other, id: None });
    assert!(matches!(make(&config(&[]), &own), Verdict::Satisfied { .. }));
}

#[test]
fn keys_that_cannot_be_used_are_never_replaced() {
    for (name, key, word) in [
        (AUTHORITY_KEY, File::Broken("it is cut off".into()), "it is cut off"),
        ("server/key.pem", File::Broken("it is encrypted".into()), "it is encrypted"),
        ("client/key.pem", File::Key(Key { kind: Kind::Other, id: None }), "public half"),
        (AUTHORITY_KEY, File::Broken("Not a directory (os error 20)".into()), "/certs must be a directory"),
        (AUTHORITY_KEY, File::Key(Key { kind: Kind::Other, id: Some("x".into()) }), "we sign with no other"),
    ] {
        let mut facts = complete();
        *file(&mut facts, name) = key;
        let problem = blocked(&facts);
        assert!(problem.what.contains(name) && problem.to_string().contains(word), "{problem}");
        assert!(problem.hints.iter().any(|hint| hint.command.as_deref() == Some("DOCKER_TLS_CERTDIR=")));
        assert!(matches!(renew(&config(&[]), &facts), Verdict::Skipped { .. }));
    }
    let mut facts = complete();
    facts.tls.files.retain(|path, _| path == "/certs/ca/cert.pem");
    let problem = blocked(&facts);
    assert!(problem.what.contains("without its key") && !problem.hints.is_empty(), "{problem}");
}

#[test]
fn nonsense_in_the_variables_stops_the_launch_and_only_where_tls_is_used() {
    for env in [[("DOCKER_TLS_SAN", "a:b")], [("DOCKER_TLS_CERTDIR", "certs")]] {
        let Verdict::Blocked { problem } = make(&config(&env), &empty()) else { panic!("{env:?}") };
        assert!(problem.what.contains(env[0].0));
    }
    let off = config(&[("DOCKER_TLS_CERTDIR", ""), ("DOCKER_TLS_SAN", "a:b")]);
    assert!(matches!(make(&off, &empty()), Verdict::Skipped { .. }));
    let named = Config { engine: Engine::new("dockerd", &[]), ..config(&[]) };
    assert!(matches!(make(&named, &empty()), Verdict::Skipped { .. }));
}

fn any_file() -> impl Strategy<Value = File> {
    let id = || proptest::option::of("[ab]");
    let kind = prop_oneof![Just(Kind::P256), Just(Kind::Rsa), Just(Kind::Other)];
    let certificate = ("[ab]", "[ab]", id(), id(), any::<bool>(), 0..4u64, "[ab]").prop_map(
        |(key, subject, identifier, signer, is_authority, time, fingerprint)| Certificate {
            issuer: subject.clone(),
            subject,
            key,
            identifier,
            signer,
            is_authority,
            not_before: NOW + time.saturating_sub(2),
            not_after: NOW + time * 20 * DAY - 1,
            names: vec![],
            fingerprint,
        },
    );
    prop_oneof![
        (kind, id()).prop_map(|(kind, id)| File::Key(Key { kind, id })),
        certificate.prop_map(|c| File::Certificates(vec![c])),
        Just(File::Broken("broken".into())),
    ]
}

proptest! {
    /// Whatever lies there: once everything asked for is done, nothing more is asked for, and no key was replaced.
    #[test]
    fn one_start_is_enough(files in proptest::collection::btree_map("/certs/(ca|server|client)/(ca|cert|key).pem", any_file(), 0..9)) {
        let keys = |facts: &Facts| -> BTreeMap<String, File> {
            facts.tls.files.iter().filter(|(p, _)| p.ends_with("key.pem")).map(|(p, f)| (p.clone(), f.clone())).collect()
        };
        let mut facts = empty();
        facts.tls.files = files.into_iter().filter(|(path, file)| path.ends_with("/key.pem") != matches!(file, File::Certificates(_))).collect();
        let before = keys(&facts);
        let verdict = make(&config(&[]), &facts);
        if let Verdict::Blocked { problem } = verdict {
            prop_assert!(!problem.hints.is_empty());
            return Ok(());
        }
        perform(verdict, &mut facts);
        let verdict = renew(&config(&[]), &facts);
        perform(verdict, &mut facts);
        prop_assert!(!matches!(make(&config(&[]), &facts), Verdict::Needed { .. }), "{:#?}", facts.tls);
        prop_assert!(!matches!(renew(&config(&[]), &facts), Verdict::Needed { .. }), "{:#?}", facts.tls);
        let after = keys(&facts);
        prop_assert!(before.iter().all(|(path, file)| after.get(path) == Some(file)));
    }
}
