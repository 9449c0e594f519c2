//! docs/pains.md: what Docker in Docker is known to suffer from, and the tests that prove that it does not here. A test says
//! so by the end of its name, `_pain_N` or `_pains_N_M`. `cargo xtask docs` writes the page anew.

#![allow(clippy::disallowed_methods, reason = "a test may read the sources")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Its name, and why no test proves it, or what tests do not prove of it.
#[rustfmt::skip]
const PAINS: &[(&str, &str)] = &[
    ("iptables of the wrong kind", ""),
    ("networks hang where the way out takes less than 1500 bytes", ""),
    ("clients come before the engine", ""),
    ("overlay on overlay", ""),
    ("processes enter the root cgroup while it is emptied", ""),
    ("Kubernetes gives no cgroup namespace", ""),
    ("configuration by environment", ""),
    ("15 s pause without TLS", ""),
    ("pid files of a crashed predecessor", ""),
    ("stops in the wrong order", ""),
    ("old clients and Docker 29's minimum API version", ""),
    ("subnets that clash", ""),
    ("resolvers of the outer container", ""),
    ("zombies", ""),
    ("containerd takes too long to start", ""),
    ("CA certificates of a company", ""),
    ("proxies", ""),
    ("certificate lacks the name that clients use", ""),
    ("keys that cannot be read, or a fall-back to plain TCP", ""),
    ("listeners named twice", ""),
    ("group of the socket", ""),
    ("hosts without IPv6 tables", ""),
    ("/proc/sys read-only", ""),
    ("threaded or invalid cgroups", ""),
    ("two engines on one data-root", ""),
    ("full disks", ""),
    ("images baked in at build time", ""),
    ("engine dies, container stays", ""),
    ("`docker top` needs ps", ""),
    ("builds from a git URL need git", ""),
    ("a limit of a thousand million open files", ""),
    ("loop devices do not appear in a container", "nodes in a container's /dev are its runtime's to make; `check` says whether the kernel has loop devices"),
    ("inotify limits", ""),
    ("keyring quota", ""),
    ("oom_score_adj refused", ""),
    ("AppArmor without its parser", "nothing to mend: containerd looks for /sbin/apparmor_parser, the image has none, so no profile is loaded and none is missed (docs/privileges.md)"),
    ("modprobe noise, modules missing", ""),
    ("frightening lines in the log", ""),
    ("rootless engine", "not built: the launcher wants root, or root of a user namespace, and says which privileges are missing (41)"),
    ("sysctl refused by the outer AppArmor", ""),
    ("user namespaces of pods", ""),
    ("GPUs", "not built: devices and libraries of the vendor come from the outer runtime; /etc/cdi and /var/run/cdi are left as they are mounted"),
    ("iptables lock", ""),
    ("gVisor", ""),
    ("trimmed kernels of micro VMs", ""),
    ("pivot_root in an initramfs", ""),
    ("cgroup v1 and hybrid hosts", ""),
    ("foreign architectures", "the kernel keeps one list of interpreters for all containers before 6.7, so registering one would change the host; `check` says whether binfmt_misc is there"),
    ("size, and findings of scanners", "a number, not a behaviour: `cargo xtask size` prints it, docs/bench.md has the bar, and the repro tier proves what is in the image"),
    ("clients that do not find the engine (Testcontainers)", ""),
    ("host network and a foreign docker0", ""),
    ("slow keys", ""),
    ("layers compressed with xz", ""),
    ("plain TCP for everybody", ""),
    ("/tmp hidden or too small", ""),
];

/// Where tests are.
const SOURCES: &[&str] = &["crates", "itest/src", "itest/tests"];

fn workspace() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Rows, each with its tests: their names, with the files that they are in.
fn tests() -> BTreeMap<usize, Vec<(String, String)>> {
    let mut found: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    let mut paths: Vec<_> = SOURCES.iter().map(|path| workspace().join(path)).collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).expect("list").flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(workspace()).expect("below").display().to_string();
            for (name, rows) in named(&fs::read_to_string(&path).expect("read")) {
                rows.into_iter()
                    .for_each(|row| found.entry(row).or_default().push((name.clone(), file.clone())));
            }
        }
    }
    found.values_mut().for_each(|tests| {
        tests.sort();
        tests.dedup();
    });
    found
}

/// Names of functions and of scenarios that end in rows.
fn named(source: &str) -> Vec<(String, Vec<usize>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    // What follows `fn ` up to what is no name, and what stands alone between quotes; no comments.
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = code.flat_map(|line| {
        let functions = line.split("fn ").skip(1).filter_map(move |rest| rest.split(|c| !is_name(c)).next());
        functions.chain(line.split('"').skip(1).step_by(2).filter(move |text| text.chars().all(is_name)))
    });
    let rows = |word: &str| {
        let (_, rows) = word.rsplit_once("_pain_").or_else(|| word.rsplit_once("_pains_"))?;
        rows.split('_').map(|row| row.parse().ok()).collect::<Option<Vec<usize>>>()
    };
    words.filter_map(|word| Some((word.to_owned(), rows(word)?))).collect()
}

fn page() -> String {
    let tests = tests();
    let row = |(index, (name, reason)): (usize, &(&str, &str))| {
        let number = index + 1;
        let proofs =
            tests.get(&number).into_iter().flatten().map(|(test, file)| format!("[`{test}`](../{file})"));
        let mut cell: Vec<String> = proofs.collect();
        if !reason.is_empty() {
            cell.push((*reason).to_owned());
        }
        format!("| {number} | {name} | {} |\n", cell.join("<br>"))
    };
    let rows: String = PAINS.iter().enumerate().map(row).collect();
    format!(
        "# Known pains of Docker in Docker\n\n\
         What people report of Docker in Docker, in the order of how often and how badly it hurts, and the tests that fail \
         where it hurts here. Where there is none, the row says why. `cargo xtask docs` writes this page from the tests' names: \
         `_pain_N`, or `_pains_N_M`, at the end of a name.\n\n\
         | | pain | proved by, or why not |\n|---|---|---|\n{rows}"
    )
}

#[test]
fn the_page_is_of_today() {
    let path = workspace().join("docs/pains.md");
    let wanted = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).expect("write");
    } else {
        let page = fs::read_to_string(&path).unwrap_or_default();
        assert!(page == wanted, "docs/pains.md is out of date: run `cargo xtask docs`");
    }
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let tests = tests();
    let open = |number: &usize| !tests.contains_key(number) && PAINS[number - 1].1.is_empty();
    let open: Vec<usize> = (1..=PAINS.len()).filter(open).collect();
    assert!(open.is_empty(), "no test is called `…_pain_N`, and no reason is given, for rows {open:?}");
    let unknown: Vec<_> = tests.keys().filter(|number| !(1..=PAINS.len()).contains(*number)).collect();
    assert!(unknown.is_empty(), "there are no rows {unknown:?}");
}

#[test]
fn rows_are_read_from_names() {
    let row = |number: usize| format!("_pain_{number}");
    let source = format!(
        "fn ns_a{}() {{}} scenario(\"running::top{}\", top) fn b_pains_{}_{}()",
        row(1),
        row(29),
        8,
        54
    );
    let found = named(&source);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.contains(&(format!("ns_a{}", row(1)), vec![1])), "{found:?}");
    assert!(found.contains(&(format!("running::top{}", row(29)), vec![29])), "{found:?}");
    assert!(found.iter().any(|(_, rows)| rows == &[8, 54]), "{found:?}");
    for nothing in ["// as fn a", "called", "let x = a", "say(\"see a"] {
        let source = format!("{nothing}{}();", row(1));
        assert!(named(&source).is_empty(), "{source}");
    }
}
