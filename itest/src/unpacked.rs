//! Archives unpacked, and what lies there compared: file by file, with kind, mode, owner, and content or target.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, Outcome};
use crate::image;

/// What lies below a directory, by path.
pub type Nodes = BTreeMap<String, String>;

/// A run that succeeded and had nothing to complain about.
pub(crate) fn silent(command: &mut Command) -> Result<Outcome> {
    let outcome = command::run_within(command, b"", Duration::from_secs(300))?.exits(0)?;
    ensure!(outcome.stderr.trim().is_empty(), "`{}` said: {}", outcome.command, outcome.stderr);
    Ok(outcome)
}

/// An archive unpacked over a base changes nothing of it but what has these names, and adds what is in it.
pub fn over(base: &Path, archive: &Path, but: &[&str]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (whole, alone) = (directory.path().join("base"), directory.path().join("alone"));
    for made in [&whole, &alone] {
        std::fs::create_dir(made)?;
    }
    unpack(base, &whole)?;
    let mut before = nodes(&whole)?;
    unpack(archive, &whole)?;
    unpack(archive, &alone)?;
    let (mut after, added) = (nodes(&whole)?, nodes(&alone)?);
    for (path, node) in &added {
        ensure!(after.get(path) == Some(node), "`{path}` of ours is {:?} instead of {node}", after.get(path));
    }
    for name in but {
        ensure!(added.contains_key(*name), "`{name}` is excepted, and not in the archive");
        before.remove(*name);
        after.remove(*name);
    }
    after.retain(|path, _| before.contains_key(path) || !added.contains_key(path));
    same(&before, &after)
}

/// As root does, for whom owners and modes come out as they are in the archive.
pub(crate) fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--preserve-permissions", "--numeric-owner", "--file"]).arg(archive);
    silent(tar.arg("--directory").arg(to)).map(drop)
}

/// All that is below a directory.
pub fn nodes(root: &Path) -> Result<Nodes> {
    let listed = silent(Command::new("find").arg(root).args(["-printf", "%P\\0%y %m %U:%G %l\\0"]))?;
    let listed = String::from_utf8(listed.stdout).context("names in UTF-8")?;
    let fields: Vec<&str> = listed.split_terminator('\0').collect();
    let mut nodes: Nodes =
        fields.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
    // Of the directory itself only what is in it matters.
    nodes.remove("");
    for (path, node) in &mut nodes {
        if node.starts_with('f') {
            let content = std::fs::read(root.join(path)).with_context(|| format!("reading `{path}`"))?;
            *node += &image::sha256(&content);
        }
    }
    Ok(nodes)
}

/// Nothing is here that was not there, and the other way round.
pub fn same(before: &Nodes, after: &Nodes) -> Result<()> {
    ensure!(before.len() > 10 || before.is_empty(), "only {} files", before.len());
    for path in before.keys().chain(after.keys()) {
        let (was, is) = (before.get(path), after.get(path));
        if was != is {
            bail!("`{path}` was {was:?} and is {is:?}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_an_archive_changes_of_a_base_is_found_out() {
        let scratch = tempfile::tempdir().expect("a directory");
        let archive = |name: &str, entries: &[(&str, u32, &str)]| -> PathBuf {
            let mut builder = tar::Builder::new(Vec::new());
            for (path, mode, content) in entries {
                let mut header = tar::Header::new_gnu();
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                let kind =
                    if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular };
                header.set_entry_type(kind);
                builder.append_data(&mut header, path, content.as_bytes()).expect("added");
            }
            let path = scratch.path().join(name);
            std::fs::write(&path, builder.into_inner().expect("whole")).expect("written");
            path
        };
        let names: Vec<String> = (0..10).map(|number| format!("file{number}")).collect();
        let mut entries = vec![("etc/", 0o755, ""), ("etc/hostname", 0o644, "base")];
        entries.extend(names.iter().map(|name| (name.as_str(), 0o644, "")));
        let base = archive("base", &entries);
        let told = |entries: &[(&str, u32, &str)], but: &[&str]| {
            over(&base, &archive("ours", entries), but).map_err(|error| error.to_string())
        };
        assert_eq!(told(&[("usr/", 0o755, ""), ("usr/new", 0o755, "new")], &[]), Ok(()));
        let mode = told(&[("etc/", 0o700, "")], &[]).expect_err("another mode");
        assert!(mode.starts_with("`etc` was Some(\"d 755 "), "{mode}");
        let content = told(&[("etc/hostname", 0o644, "")], &[]).expect_err("another content");
        assert!(content.starts_with("`etc/hostname` was Some(\"f 644 "), "{content}");
        assert_eq!(told(&[("etc/hostname", 0o644, "")], &["etc/hostname"]), Ok(()));
        let stale = told(&[("usr/", 0o755, "")], &["etc/hostname"]).expect_err("no reason for an exception");
        assert!(stale.contains("excepted"), "{stale}");
    }
}
