//! `cargo xtask size`: what the image weighs, part by part.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::process::{command, output, target};

pub(crate) fn run() -> Result<ExitCode> {
    output(&mut command(&["cargo", "build", "--release", "--locked", "--package", "from-scratch"]))?;
    let scratch = target().join("bench");
    std::fs::create_dir_all(&scratch)?;
    let tar = scratch.join("image.tar");
    let mut build = command(&[target().join("release/from-scratch")]);
    output(build.args(["build", "-o"]).arg(format!("tar:{}", tar.display())))?;
    let listing = output(command(&["tar", "--list", "--verbose", "--numeric-owner", "--file"]).arg(&tar))?;
    print!("{}", table(&listing)?);
    Ok(ExitCode::SUCCESS)
}

/// Files of a megabyte and more stand for themselves, the others for their directory.
fn table(listing: &str) -> Result<String> {
    let mut parts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut total = 0;
    for line in listing.lines().filter(|line| line.starts_with('-')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (size, path) = fields.get(2).zip(fields.get(5)).with_context(|| format!("tar listed: {line}"))?;
        let size: u64 = size.parse().with_context(|| format!("tar listed: {line}"))?;
        let part = if size >= 1_000_000 {
            path
        } else {
            path.rsplit_once('/').map_or("", |(directory, _)| directory)
        };
        *parts.entry(part).or_default() += size;
        total += size;
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(path, size)| (std::cmp::Reverse(*size), *path));
    let row = |size: u64, what: &str| format!("{:>8.2} MB  {what}\n", size as f64 / 1e6);
    Ok(parts.iter().map(|(path, size)| row(*size, path)).collect::<String>() + &row(total, "in all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_stand_alone_and_small_ones_together() {
        let listing = "drwxr-xr-x 0/0           0 2026-01-01 00:00 usr/\n\
            -rwxr-xr-x 0/0     2500000 2026-01-01 00:00 usr/bin/big\n\
            -rw-r--r-- 0/0      200000 2026-01-01 00:00 usr/lib/a\n\
            -rw-r--r-- 0/0      300000 2026-01-01 00:00 usr/lib/b\n";
        assert_eq!(
            table(listing).expect("a listing"),
            "    2.50 MB  usr/bin/big\n    0.50 MB  usr/lib\n    3.00 MB  in all\n"
        );
    }
}
