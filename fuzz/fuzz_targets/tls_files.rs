//! Certificates and keys that lie in a volume: whoever put them there, they are understood or refused, and one start settles
//! what is to be made.
#![no_main]

use std::collections::BTreeMap;

use dockerlaunch_plan::Verdict;
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::tls::{File, parse_certificates, parse_key};
use dockerlaunch_plan::facts::{Facts, socket_table};
use dockerlaunch_plan::rules::tls;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 3] = ["ca", "cert", "key"];

// The first byte says which of the nine files this is, or that each is the same. What is no PEM is taken for DER, in which a
// fuzzer gets further.
fuzz_target!(|data: &[u8]| {
    let Some((first, content)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(content).into_owned();
    let env = BTreeMap::from([("DOCKER_TLS_SAN".to_owned(), text.clone())]);
    let config = Config::new(Engine::default(), &env);
    let mut facts = Facts::default();
    facts.tls.now = 1_764_000_000;
    for (i, folder) in ["ca", "server", "client"].iter().enumerate() {
        for (j, name) in ["ca", "cert", "key"].iter().enumerate() {
            if *first < 9 && usize::from(*first) != 3 * i + j {
                continue;
            }
            let file = if *name == "key" {
                let label = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"][usize::from(*first) % 3];
                parse_key(&pem(content, label)).map_or_else(File::Broken, |key| File::Key(key.fact()))
            } else {
                parse_certificates(&pem(content, "CERTIFICATE")).map_or_else(File::Broken, File::Certificates)
            };
            facts.tls.files.insert(format!("/certs/{folder}/{name}.pem"), file);
        }
    }
    for rule in [tls::make, tls::renew] {
        if let Verdict::Needed { actions } = rule(&config, &facts) {
            actions.iter().for_each(|action| action.predict(&mut facts));
        }
    }
    for rule in [tls::make, tls::renew] {
        match rule(&config, &facts) {
            Verdict::Blocked { problem } => assert!(!problem.hints.is_empty()),
            verdict => assert!(!matches!(verdict, Verdict::Needed { .. })),
        }
    }
    socket_table::listening_on_port(&text, 2376);
    socket_table::listening_at_path(&text, "/run/docker.sock");
});

/// As it is, or as PEM with this label.
fn pem(content: &[u8], label: &str) -> Vec<u8> {
    if content.starts_with(b"-----") {
        return content.to_vec();
    }
    let mut out = format!("-----BEGIN {label}-----\n").into_bytes();
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in content.chunks(3) {
        let bits =
            group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        let letters = [18, 12, 6, 0].map(|shift| LETTERS[bits >> shift & 63]);
        out.extend(&letters[..group.len() + 1]);
        out.extend(&b"=="[..3 - group.len()]);
    }
    out.extend(format!("\n-----END {label}-----\n").bytes());
    out
}
