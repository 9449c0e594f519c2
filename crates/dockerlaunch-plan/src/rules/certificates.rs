//! CA certificates that the engine trusts besides the system's.

use crate::config::variables::{CERT_FILE, EXTRA_CA};
use crate::facts::certificates::{self, BUNDLE, Source};
use crate::{Action, Config, Facts, Problem, Verdict};

/// One bundle of the system's certificates and the extra ones; the engine reads it once, at its start.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let extra = &facts.extra_ca;
    let broken: Vec<&Source> = extra.sources.iter().filter(|s| s.asked && s.error.is_some()).collect();
    if let Some(first) = broken.first() {
        let name = |source: &Source| source.path.clone().unwrap_or_else(|| "the text itself".into());
        let problem = Problem::new(format!("{EXTRA_CA}: `{}` cannot be used", name(first)));
        let problem = broken.iter().fold(problem, |problem, source| {
            problem.cause(format!("{}: {}", name(source), source.error.as_deref().unwrap_or_default()))
        });
        return Verdict::Blocked {
            problem: problem
                .hint("name PEM files or directories that hold them (`*.crt`, `*.pem`), separated by `:`, or set it to the PEM text")
                .remedy("to make PEM of a binary certificate", "openssl x509 -inform der -in ca.der -out ca.crt"),
        };
    }
    if !in_use(facts) {
        let why = if extra.sources.is_empty() {
            "none besides the system's"
        } else {
            "the system's bundle has them"
        };
        return Verdict::skipped(why);
    }
    if extra.bundled {
        return Verdict::satisfied(BUNDLE);
    }
    let from = extra.system.iter().cloned().chain(usable(facts).filter_map(|s| s.path.clone())).collect();
    // Only certificates: whatever else somebody put there stays out of plans and files.
    let text = usable(facts)
        .any(|s| s.path.is_none())
        .then(|| certificates::bundle(config.environment.extra_ca.as_deref()));
    Verdict::Needed { actions: vec![Action::BundleCertificates { from, text, to: BUNDLE.into() }] }
}

fn usable(facts: &Facts) -> impl Iterator<Item = &Source> {
    facts.extra_ca.sources.iter().filter(|source| source.error.is_none())
}

/// Whether the engine takes its certificates from [`BUNDLE`].
pub(super) fn in_use(facts: &Facts) -> bool {
    usable(facts).next().is_some() && !facts.extra_ca.known
}

/// What lay in a directory for certificates and is none: told, but no reason not to start.
pub fn notices(facts: &Facts) -> impl Iterator<Item = String> + '_ {
    let broken = facts.extra_ca.sources.iter().filter(|source| !source.asked);
    broken.filter_map(|source| {
        Some(format!("{} is left out: {}", source.path.as_deref()?, source.error.as_deref()?))
    })
}

/// A bundle that is not there: Go says nothing of it, and then may trust nobody.
pub fn warning(config: &Config, facts: &Facts) -> Option<String> {
    let path = config.environment.cert_file.as_deref().filter(|path| !facts.exists(path))?;
    Some(format!("{CERT_FILE} is `{path}`, and there is no such file: registries may not be trusted"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    fn source(path: Option<&str>, asked: bool, error: Option<&str>) -> Source {
        Source { path: path.map(str::to_owned), asked, error: error.map(str::to_owned) }
    }

    fn decided(sources: Vec<Source>, known: bool) -> Verdict {
        let env = BTreeMap::from([(
            EXTRA_CA.to_owned(),
            "-----BEGIN CERTIFICATE-----\nMIIA\n-----END CERTIFICATE-----\nS3CRET".to_owned(),
        )]);
        let config = Config::new(Engine::default(), &env);
        let mut facts = Facts::default();
        facts.extra_ca.system = Some("/etc/ssl/certs/ca-certificates.crt".into());
        facts.extra_ca.sources = sources;
        facts.extra_ca.known = known;
        let verdict = decide(&config, &facts);
        if let Verdict::Needed { actions } = &verdict {
            actions.iter().for_each(|a| a.predict(&mut facts));
            assert!(matches!(decide(&config, &facts), Verdict::Satisfied { .. }));
        }
        verdict
    }

    #[test]
    fn extra_certificates_are_bundled_with_the_systems_pain_16() {
        let sources = vec![
            source(Some("/a.crt"), true, None),
            source(None, true, None),
            source(Some("/b"), false, Some("x")),
        ];
        let Verdict::Needed { actions } = decided(sources, false) else { panic!("needed") };
        let Action::BundleCertificates { from, text, .. } = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(from, &["/etc/ssl/certs/ca-certificates.crt", "/a.crt"]);
        assert!(text.as_deref().is_some_and(|t| t.contains("MIIA") && !t.contains("S3CRET")));
    }

    #[test]
    fn a_bundle_that_is_not_there_is_told() {
        let env = BTreeMap::from([(CERT_FILE.to_owned(), "/nope".to_owned())]);
        let config = Config::new(Engine::default(), &env);
        let mut facts = Facts::default();
        assert!(warning(&config, &facts).is_some_and(|text| text.contains("`/nope`")));
        facts.paths.insert("/nope".into(), crate::facts::Entry::File(0o644));
        assert_eq!(warning(&config, &facts), None);
        assert_eq!(warning(&Config::new(Engine::default(), &BTreeMap::new()), &Facts::default()), None);
    }

    #[test]
    fn nothing_is_written_without_need() {
        assert!(matches!(decided(vec![], false), Verdict::Skipped { .. }));
        assert!(matches!(decided(vec![source(Some("/a"), false, None)], true), Verdict::Skipped { .. }));
        assert!(matches!(
            decided(vec![source(Some("/a"), false, Some("x"))], false),
            Verdict::Skipped { .. }
        ));
    }

    #[test]
    fn what_was_asked_for_and_cannot_be_used_stops_the_launch() {
        let Verdict::Blocked { problem } = decided(vec![source(Some("/a"), true, Some("no PEM"))], false)
        else {
            panic!("blocked")
        };
        assert!(problem.what.contains("/a") && problem.what.contains(EXTRA_CA) && !problem.hints.is_empty());
    }
}
