//! `from-scratch check`: what it says of this host, and that it leaves it as it was.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::host::Host;
use crate::product;

/// Any user that is not root.
const SOMEBODY: u32 = 65534;

/// Where `up` works, nothing is missing; and nothing that was tried stays.
pub fn of_this_host() -> Result<()> {
    let before = Host::look()?;
    let told =
        command::run(Command::new(product::from_scratch()?).args(["check", "--json"]), b"")?.exits(0)?.text();
    let checked: Value = serde_json::from_str(&told).context("JSON")?;
    ensure!(checked["version"] == 1 && checked["ok"] == true, "{told}");
    ensure!(status(&checked, "veth") == Some("ok"), "{told}");
    before.unchanged(&Host::look()?, |_, _| false)
}

/// Somebody who is not root learns what root is needed for, and what can be told all the same.
pub fn without_root() -> Result<()> {
    let place = tempfile::tempdir()?;
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let program = place.path().join("from-scratch");
    std::fs::copy(product::from_scratch()?, &program)?;
    let mut check = Command::new(&program);
    check.args(["check", "--json"]).uid(SOMEBODY).gid(SOMEBODY).current_dir("/");
    let told = command::run(&mut check, b"")?.exits(1)?.text();
    let checked: Value = serde_json::from_str(&told).context("JSON")?;
    ensure!(status(&checked, "capabilities") == Some("missing"), "{told}");
    // Tried in a user namespace, read in a configuration, or not to be known.
    ensure!(status(&checked, "veth") != Some("missing"), "{told}");
    Ok(())
}

fn status<'a>(checked: &'a Value, item: &str) -> Option<&'a str> {
    checked["lines"].as_array()?.iter().find(|line| line["item"] == item)?["status"].as_str()
}
