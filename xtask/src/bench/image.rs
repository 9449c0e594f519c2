//! What a build takes and what comes out of it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, ensure};

use super::line::{Bar, Line, samples, seconds};
use super::{Bench, processes};
use crate::process::{command, output};

/// MB are 10^6 bytes here, as on a package mirror.
const MB: f64 = 1e6;

/// Seconds that a warm build with one component changed may take, and MB of memory that it may have at its peak.
const REBUILD: f64 = 8.0;
const MEMORY: f64 = 300.0;

/// MB of the tar, and of the tar through `zstd -19`.
const TAR: f64 = 228.0;
const TAR_ZSTD: f64 = 65.0;

/// A build over a warm cache, with and without xz in turn, so that each round changes one component.
pub(super) fn rebuild(bench: &Bench) -> Result<Vec<Line>> {
    let directory = bench.built()?.join("oci");
    let output_to = format!("oci:{}", directory.display());
    let mut peaks = Vec::new();
    let mut build = |change: &[&str]| -> Result<()> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        let words = ["build", "--compression", "zstd:3", "-o", &output_to];
        let mut build = bench.product(&words);
        let mut build = build.args(change).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        peaks.push(processes::peak(&mut build)?);
        let output = build.wait_with_output()?;
        ensure!(output.status.success(), "the build failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    build(&[])?;
    let mut full = true;
    let rounds = samples(bench.rounds, || {
        full = !full;
        let change: &[&str] = if full { &[] } else { &["--without", "xz"] };
        seconds(|| build(change))
    })?;
    peaks.remove(0);
    let what = "warm `build -o oci:`, one component changed, zstd:3";
    Ok(vec![
        Line::new(what, "s", rounds).bar(Bar::AtMost(REBUILD)),
        Line::new("… its memory at the peak", "MB", peaks).bar(Bar::AtMost(MEMORY)),
    ])
}

/// The tar, as it is and compressed: deterministic, so once is enough.
pub(super) fn weight(bench: &Bench) -> Result<Vec<Line>> {
    let (plain, packed) = weigh(bench, &bench.built()?.join("image.tar"))?;
    let line =
        |what: &str, bytes: u64, bar| Line::new(what, "MB", vec![bytes as f64 / MB]).bar(Bar::AtMost(bar));
    Ok(vec![line("image as `tar:`", plain, TAR), line("… through `zstd -19`", packed, TAR_ZSTD)])
}

fn weigh(bench: &Bench, tar: &Path) -> Result<(u64, u64)> {
    output(&mut bench.product(&["build", "-o", &format!("tar:{}", tar.display())]))?;
    let packed = tar.with_extension("tar.zst");
    let mut zstd = command(&["zstd", "-19", "-T0", "--quiet", "--force", "-o"]);
    output(zstd.arg(&packed).arg(tar))?;
    let sizes = (tar.metadata()?.len(), packed.metadata()?.len());
    ensure!(sizes.0 > sizes.1, "packing made it larger");
    Ok(sizes)
}
