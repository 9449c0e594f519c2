//! What a build takes and what comes out of it.

use std::cell::RefCell;
use std::fs;
use std::process::Stdio;

use anyhow::{Result, ensure};

use super::line::{Bar, Line, samples, seconds};
use super::{Bench, processes};
use crate::process::{command, output};

/// MB are 10^6 bytes here, as on a package mirror.
const MB: f64 = 1e6;

/// Seconds that a warm build with one component changed may take, by compression; the second is the default.
pub(super) const REBUILD: f64 = 8.0;
const REBUILDS: [(&str, f64); 2] = [("zstd:3", REBUILD), ("gzip:6", 12.0)];

/// MB of memory that a build may have at its peak, with the slowest level that people use too.
const MEMORY: f64 = 300.0;
const SLOW: &str = "zstd:19";

/// Profiles with the MB that their tar may have as it is, and through `zstd -19`. The full one is smaller than docker:29-dind.
const WEIGHTS: [(&str, Option<f64>, f64); 3] =
    [("default", Some(228.0), 65.0), ("minimal", Some(166.0), 46.0), ("full", None, 106.0)];

/// A build over a warm cache, with and without xz in turn, so that each round changes one component.
pub(super) fn rebuild(bench: &Bench) -> Result<Vec<Line>> {
    let directory = bench.built()?.join("oci");
    let output_to = format!("oci:{}", directory.display());
    let peaks = RefCell::new(Vec::new());
    let build = |compression: &str, change: &[&str]| -> Result<()> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        let words = ["build", "--compression", compression, "-o", &output_to];
        let mut build = bench.product(&words);
        let mut build = build.args(change).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        peaks.borrow_mut().push(processes::peak(&mut build)?);
        let output = build.wait_with_output()?;
        ensure!(output.status.success(), "the build failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let mut lines = Vec::new();
    for (compression, bar) in REBUILDS {
        build(compression, &[])?;
        peaks.borrow_mut().clear();
        let mut full = true;
        let rounds = samples(bench.rounds, || {
            full = !full;
            let change: &[&str] = if full { &[] } else { &["--without", "xz"] };
            seconds(|| build(compression, change))
        })?;
        let what = format!("warm `build -o oci:`, one component changed, {compression}");
        lines.push(Line::new(what, "s", rounds).bar(Bar::AtMost(bar)));
        lines.push(Line::new("… its memory at the peak", "MB", peaks.take()).bar(Bar::AtMost(MEMORY)));
    }
    // Once: it takes a minute or two, of which nothing is timed.
    build(SLOW, &["--without", "ps"])?;
    let what = format!("… at the peak where everything is compressed with {SLOW}");
    lines.push(Line::new(what, "MB", peaks.take()).bar(Bar::AtMost(MEMORY)));
    Ok(lines)
}

/// The tars, as they are and compressed: deterministic, so once is enough.
pub(super) fn weight(bench: &Bench) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (profile, plain, packed) in WEIGHTS {
        let sizes = weigh(bench, profile)?;
        let line = |what: String, bytes: u64| Line::new(what, "MB", vec![bytes as f64 / MB]);
        let whole = line(format!("`{profile}` as `tar:`"), sizes.0);
        lines.push(match plain {
            Some(bar) => whole.bar(Bar::AtMost(bar)),
            None => whole,
        });
        lines.push(line("… through `zstd -19`".to_owned(), sizes.1).bar(Bar::AtMost(packed)));
    }
    Ok(lines)
}

fn weigh(bench: &Bench, profile: &str) -> Result<(u64, u64)> {
    let tar = bench.built()?.join("image.tar");
    output(&mut bench.product(&["build", "--profile", profile, "-o", &format!("tar:{}", tar.display())]))?;
    let packed = tar.with_extension("tar.zst");
    let mut zstd = command(&["zstd", "-19", "-T0", "--quiet", "--force", "-o"]);
    output(zstd.arg(&packed).arg(&tar))?;
    let sizes = (tar.metadata()?.len(), packed.metadata()?.len());
    ensure!(sizes.0 > sizes.1, "packing made it larger");
    Ok(sizes)
}
