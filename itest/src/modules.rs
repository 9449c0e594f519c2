//! The launcher's modprobe beside kmod's, over a whole kernel package.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{build, command, need, product};

/// So many names a call: a command line has an end.
const CHUNK: usize = 400;

/// For every module, alias and symbol that the package knows, both show the same files in the same order.
pub fn shown_as_by_kmod() -> Result<()> {
    let image = build::output("modules", "dir", "rootfs")?;
    let own = image.join("usr/lib/dockerlaunch/bin/modprobe");
    let kmod = need::program("modprobe").context("no modprobe")?;
    let (root, release) = product::kernel()?;
    let names = names(&root.join("lib/modules").join(&release))?;
    ensure!(names.len() > 5000, "only {} names", names.len());
    let mut lines = 0;
    for names in names.chunks(CHUNK) {
        let shown = |program: &Path, options: &[&str]| -> Result<String> {
            let mut modprobe = Command::new(program);
            modprobe.args(options).args(["-q", "-a", "-D", "-S", &release, "-d"]).arg(&root).arg("--");
            // Its status tells of names that it does not know; here only what it shows counts.
            Ok(command::run_within(modprobe.args(names), b"", Duration::from_secs(300))?.text())
        };
        // Without this machine's own configuration.
        let (ours, theirs) = (shown(&own, &[])?, shown(&kmod, &["-C", "/var/empty"])?);
        if let Some((own, kmod)) = ours.lines().zip(theirs.lines()).find(|(own, kmod)| own != kmod) {
            anyhow::bail!("in {} … {}: we show `{own}`, kmod `{kmod}`", names[0], names[names.len() - 1]);
        }
        ensure!(ours.lines().count() == theirs.lines().count(), "{} … show more or less", names[0]);
        lines += ours.lines().count();
    }
    ensure!(lines > names.len(), "{lines} lines for {} names", names.len());
    fs::remove_dir_all(image)?;
    Ok(())
}

/// Names of modules, an alias for each pattern, and symbols; and one that is nothing.
fn names(folder: &Path) -> Result<Vec<String>> {
    let text = |file: &str| {
        let path = folder.join(file);
        fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))
    };
    let mut names = BTreeSet::from(["no-such-module".to_owned()]);
    let base =
        |line: &str| line.rsplit('/').next().and_then(|name| name.split(".ko").next()).map(str::to_owned);
    names.extend(text("modules.builtin")?.lines().filter_map(base));
    names.extend(text("modules.dep")?.lines().filter_map(|line| base(line.split(':').next()?)));
    for file in ["modules.alias", "modules.symbols"] {
        let text = text(file)?;
        names.extend(text.lines().filter_map(|line| line.split(' ').nth(1)).map(an_alias_of));
    }
    let builtin = text("modules.builtin.modinfo")?;
    names.extend(
        builtin
            .split('\0')
            .filter_map(|entry| entry.split_once(".alias="))
            .map(|(_, alias)| an_alias_of(alias)),
    );
    Ok(names.into_iter().collect())
}

/// One that the pattern matches: kmod shows a pattern's own modules twice.
fn an_alias_of(pattern: &str) -> String {
    let (mut alias, mut class) = (String::new(), None);
    for letter in pattern.chars() {
        match (letter, class) {
            ('[', None) => class = Some(false),
            (']', Some(_)) => class = None,
            (first, Some(false)) => {
                alias.push(first);
                class = Some(true);
            }
            (_, Some(true)) => {}
            ('*' | '?', None) => alias.push('7'),
            (letter, None) => alias.push(letter),
        }
    }
    alias
}
