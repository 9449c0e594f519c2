//! On what, and with what, it was measured.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::instance::Instance;
use crate::process::output;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gb: f64,
    pub(crate) arch: String,
    pub(crate) kernel: String,
    /// `v1`, `v2` or `hybrid`.
    pub(crate) cgroups: String,
    /// How many processes wanted to run, over the minute before the start: of a machine that does nothing else, hardly one.
    pub(crate) load: f64,
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let field = |file: &str, name: &str| -> Result<String> {
            let text = fs::read_to_string(file)?;
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
            Ok(value.with_context(|| format!("no {name} in {file}"))?.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal")?;
        let kilobytes: f64 = memory.trim_end_matches(" kB").parse()?;
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|_| "unknown".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gb: (kilobytes * 1024.0 / 1e8).round() / 10.0,
            arch: std::env::consts::ARCH.to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cgroups: cgroups(&fs::read_to_string("/proc/self/mounts")?).to_owned(),
            load: load.split(' ').next().context("an empty loadavg")?.parse()?,
        })
    }
}

fn cgroups(mounts: &str) -> &'static str {
    let any = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (any("cgroup"), any("cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        _ => "v2",
    }
}

/// The image and what is in it, out of a running instance.
pub(crate) fn versions(instance: &Instance<'_>) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::from([
        ("from-scratch".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("image".to_owned(), instance.image()?),
    ]);
    let format = "{{range .Server.Components}}{{.Name}}={{.Version}}\n{{end}}";
    for line in output(&mut instance.exec(&["docker", "version", "--format", format]))?.lines() {
        if let Some((name, version)) = line.split_once('=') {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_cgroups() {
        let (one, two) = ("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n", "x /sys/fs/cgroup cgroup2 rw 0 0\n");
        assert_eq!(cgroups(&format!("{one}{two}")), "hybrid");
        assert_eq!((cgroups(one), cgroups(two)), ("v1", "v2"));
    }

    #[test]
    fn this_machine_has_a_processor() {
        let machine = Machine::this().expect("a machine");
        assert!(machine.cores > 0 && machine.memory_gb > 0.0 && !machine.kernel.is_empty(), "{machine:?}");
    }
}
