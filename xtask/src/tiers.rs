//! The tiers of the test suite: what each needs and how it is run.

use crate::provision::Need;

/// One line of the summary.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) name: &'static str,
    pub(crate) proves: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) steps: &'static [Step],
    /// A tier of tests in which no test ran proves nothing.
    pub(crate) has_tests: bool,
    /// Run only by `--full`, or when asked for by name.
    pub(crate) long: bool,
    /// The tier just before it, when both are begun together.
    pub(crate) beside: Option<&'static str>,
}

/// One command of a tier.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A cargo command as it stands.
    Cargo(&'static [&'static str]),
    /// The tests of all crates, of itest those of its library, whose name has this prefix; "" is all that have none of the prefixes.
    Tests(&'static str),
    /// A test binary of the scenario harness.
    Scenarios(&'static str),
    /// Each target in `fuzz/`: five seconds. With `--full` a minute, and the builder's in its own crate too.
    Fuzz,
}

/// A test whose name, or the name of one of its modules, starts so is of that tier.
pub(crate) const PREFIXES: [&str; 6] = ["ns_", "repro_", "engine_", "root_", "nested_", "vm_"];

const BUSYBOX: &[Need] = &[
    Need::Root,
    Need::Busybox,
    Need::Registry,
    Need::GitServer,
    Need::Program("ssh-keygen", "openssh-client"),
    OPENSSL,
    Need::Program("script", "bsdutils"),
    Need::Program("ip", "iproute2"),
    Need::Program("nft", "nftables"),
    Need::Program("perl", "perl-base"),
    Need::Program("unshare", "util-linux"),
    Need::Program("nsenter", "util-linux"),
];
const NESTED: &[Need] = &[
    Need::Root,
    Need::Program("debootstrap", "debootstrap"),
    Need::Busybox,
    Need::Bookworm,
    Need::Registry,
    Need::GitServer,
    Need::Program("ssh-keygen", "openssh-client"),
    OPENSSL,
    Need::Program("script", "bsdutils"),
    Need::Program("dpkg-deb", "dpkg"),
];
const VM: &[Need] = &[
    Need::Root,
    Need::Program("qemu-system-x86_64", "qemu-system-x86"),
    Need::Program("depmod", "kmod"),
    Need::Program("modprobe", "kmod"),
    Need::Program("cpio", "cpio"),
    Need::Busybox,
    Need::Kernel,
];
/// Of all environments, and of what runs with `--full` alone in other tiers.
const SCENARIOS: &[Need] = &[
    Need::Root,
    Need::Program("script", "bsdutils"),
    Need::Program("debootstrap", "debootstrap"),
    Need::Program("qemu-system-x86_64", "qemu-system-x86"),
    Need::Program("depmod", "kmod"),
    Need::Program("cpio", "cpio"),
    Need::Program("mke2fs", "e2fsprogs"),
    Need::Busybox,
    Need::Bookworm,
    Need::Engines,
    Need::Kernel,
    Need::FileServer,
    Need::Registry,
    Need::GitServer,
    Need::Program("ssh-keygen", "openssh-client"),
    Need::Spdx,
    OPENSSL,
];
/// Oracles of the unit tests: what our own ELF, archive and certificate code is compared with.
const ORACLES: &[Need] = &[
    Need::Program("openssl", "openssl"),
    Need::Program("patchelf", "patchelf"),
    Need::Program("readelf", "binutils"),
    Need::Program("zstd", "zstd"),
    Need::Program("xz", "xz-utils"),
    Need::Program("cpio", "cpio"),
    OPENSSL,
];
const REPRO: &[Need] = &[
    Need::Root,
    Need::Program("debootstrap", "debootstrap"),
    Need::Program("skopeo", "skopeo"),
    Need::Program("umoci", "umoci"),
    Need::Program("dpkg-deb", "dpkg"),
    Need::Program("qemu-aarch64", "qemu-user"),
    Need::Program("qemu-arm", "qemu-user"),
    Need::Program("qemu-riscv64", "qemu-user"),
    Need::Bookworm,
];
/// What looks at our certificates, as clients do.
const OPENSSL: Need = Need::Program("openssl", "openssl");

pub(crate) const TIERS: &[Tier] = &[
    Tier {
        name: "format",
        proves: "rustfmt agrees",
        needs: &[],
        steps: &[Step::Cargo(&["fmt", "--all", "--check"])],
        has_tests: false,
        long: false,
        beside: None,
    },
    Tier {
        name: "lint",
        proves: "clippy has nothing to say",
        needs: &[],
        steps: &[Step::Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])],
        has_tests: false,
        long: false,
        beside: None,
    },
    Tier {
        name: "unit",
        proves: "parsers, rules, plans (unit, property, snapshot)",
        needs: ORACLES,
        steps: &[Step::Tests(""), Step::Cargo(&["test", "--locked", "--workspace", "--doc"])],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "ns",
        proves: "actions act, PID 1 reaps (user namespaces)",
        needs: &[Need::UserNamespaces, Need::Program("openssl", "openssl")],
        steps: &[Step::Tests("ns_")],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "repro",
        proves: "two builds give the same bytes, which others take without complaint",
        needs: REPRO,
        steps: &[Step::Tests("repro_"), Step::Scenarios("repro")],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "engine",
        proves: "the real dockerd accepts what we make of settings",
        needs: &[OPENSSL],
        steps: &[Step::Scenarios("engine")],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "root",
        proves: "what users do, under `up`",
        needs: BUSYBOX,
        steps: &[
            Step::Tests("root_"),
            Step::Scenarios("root_up"),
            Step::Scenarios("root_storage"),
            Step::Scenarios("root_extras"),
            Step::Scenarios("prove"),
            Step::Scenarios("scenario"),
            Step::Scenarios("sandbox"),
            Step::Scenarios("faults"),
        ],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "nested",
        proves: "the image inside itself, and in other bases",
        needs: NESTED,
        steps: &[
            Step::Scenarios("nested"),
            Step::Scenarios("nested_storage"),
            Step::Scenarios("dind"),
            Step::Scenarios("places"),
        ],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "fuzz",
        proves: "no input makes a parser panic",
        needs: &[Need::Crate("cargo-fuzz")],
        steps: &[Step::Fuzz],
        has_tests: true,
        long: false,
        beside: None,
    },
    Tier {
        name: "vm",
        proves: "the kernel's init, cgroup v2, real modules",
        needs: VM,
        steps: &[Step::Scenarios("vm")],
        has_tests: true,
        long: false,
        // Emulated machines boot on one processor, and the fuzz targets are mostly compiled: neither needs all of ours.
        beside: Some("fuzz"),
    },
    Tier {
        name: "scenarios",
        proves: "every scenario in every container; nothing has grown",
        needs: SCENARIOS,
        steps: &[Step::Cargo(&["xtask", "size"]), Step::Cargo(&["xtask", "scenario", "--in", "all,-vm"])],
        has_tests: true,
        long: true,
        beside: None,
    },
    Tier {
        name: "machine",
        proves: "every scenario in an emulated machine",
        needs: SCENARIOS,
        steps: &[Step::Cargo(&["xtask", "scenario", "--in", "vm"])],
        has_tests: true,
        long: true,
        // It takes as long as all the others together, and waits for one processor.
        beside: Some("scenarios"),
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_prefix_has_a_tier_that_runs_it() {
        for prefix in PREFIXES {
            let name = prefix.trim_end_matches('_');
            assert!(TIERS.iter().any(|tier| tier.name == name), "no tier for {prefix}");
        }
    }

    /// The programs that a source of itest's wants, but for its own tests.
    fn programs(file: &Path, found: &mut Vec<String>) {
        let text = std::fs::read_to_string(file).expect("a source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let names = text.split("Need::Program(\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }

    fn programs_below(directory: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            if entry.path().is_dir() {
                programs_below(&entry.path(), found);
            } else {
                programs(&entry.path(), found);
            }
        }
    }

    #[test]
    fn what_tests_want_is_fetched_for_their_tier() {
        let itest = crate::process::workspace().join("itest");
        let mut of_scenarios = Vec::new();
        programs_below(&itest.join("src"), &mut of_scenarios);
        assert!(of_scenarios.iter().any(|name| name == "script"), "{of_scenarios:?}");
        let has = |needs: &[Need], name: &str| {
            needs.iter().any(|need| matches!(need, Need::Program(program, _) if *program == name))
        };
        for name in &of_scenarios {
            assert!(has(SCENARIOS, name), "nobody fetches `{name}` for scenarios");
        }
        for tier in TIERS {
            for step in tier.steps {
                let Step::Scenarios(name) = step else { continue };
                let mut wanted = Vec::new();
                programs(&itest.join(format!("tests/{name}.rs")), &mut wanted);
                for name in wanted {
                    assert!(
                        has(tier.needs, &name) || has(SCENARIOS, &name),
                        "{}: nobody fetches `{name}`",
                        tier.name
                    );
                }
            }
        }
    }

    #[test]
    fn tiers_that_begin_together_are_neighbours() {
        for (number, tier) in TIERS.iter().enumerate() {
            if let Some(name) = tier.beside {
                assert_eq!(TIERS[number - 1].name, name, "{}", tier.name);
            }
        }
    }

    #[test]
    fn every_scenario_binary_exists() {
        for step in TIERS.iter().flat_map(|tier| tier.steps) {
            if let Step::Scenarios(name) = step {
                let file = crate::process::workspace().join(format!("itest/tests/{name}.rs"));
                assert!(file.is_file(), "no {}", file.display());
            }
        }
    }
}
