//! The generated part of docs/bench.md.

use anyhow::{Context, Result};

use super::line::Line;
use super::record::Record;

const FIRST: &str = "<!-- bench -->\n";
const LAST: &str = "<!-- /bench -->";

/// The page with this between its marks.
pub(super) fn with_block(page: &str, block: &str) -> Result<String> {
    let marks = || format!("docs/bench.md must have `{}` and `{LAST}`", FIRST.trim_end());
    let (before, rest) = page.split_once(FIRST).with_context(marks)?;
    let (_, after) = rest.split_once(LAST).with_context(marks)?;
    Ok(format!("{before}{FIRST}{block}{LAST}{after}"))
}

pub(super) fn block(record: &Record) -> String {
    let (machine, versions) = (&record.machine, &record.versions);
    let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let head = format!(
        "{}, at commit {}. {} × {}, {} GB, {}, kernel {}, cgroups {}, load before it {}. {}.\n",
        record.date,
        record.commit,
        machine.cores,
        machine.cpu,
        machine.memory_gb,
        machine.arch,
        machine.kernel,
        machine.cgroups,
        machine.load,
        versions.join(", ")
    );
    let table = "| what | ours | bare | ours / bare | rounds | bar | |\n|---|---|---|---|---|---|---|\n";
    let rows: String = record.lines.iter().map(row).collect();
    format!(
        "{head}All samples: [bench.json](bench/bench.json).\n\n![ours, as many times the bare engine](bench/bench.svg)\n\n{table}{rows}"
    )
}

fn row(line: &Line) -> String {
    let verdict = match line.met() {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    let bare = line.bare().map(|bare| line.shown(bare)).unwrap_or_default();
    let ratio = line.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    let bar = line.bar_shown().unwrap_or_default();
    let (ours, rounds) = (line.shown(line.ours()), line.ours.len());
    format!("| {} | {ours} | {bare} | {ratio} | {rounds} | {bar} | {verdict} |\n", line.what)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::example;
    use super::*;

    #[test]
    fn the_table_is_the_figures() {
        assert_eq!(
            block(&example()),
            "2026-11-26, at commit 0123456789ab. 2 × A <fast> & small CPU, 8.3 GB, x86_64, kernel 6.18.5, cgroups hybrid, \
             load before it 0.25. Engine 28.5.2, from-scratch 0.1.0, image forky@sha256:0123.\n\
             All samples: [bench.json](bench/bench.json).\n\n\
             ![ours, as many times the bare engine](bench/bench.svg)\n\n\
             | what | ours | bare | ours / bare | rounds | bar | |\n\
             |---|---|---|---|---|---|---|\n\
             | `docker stop` | 290.0 ms | 2100 ms | 0.14 | 3 | 1000 ms | met |\n\
             | warm `up` | 405.0 ms | 195.0 ms | 2.08 | 2 | 324.2 ms (bare × 1.15 + 100 ms) | **missed** |\n\
             | idle & settled | 90.0 MB | 100.0 MB | 0.90 | 1 | 92.0 MB (bare − 8 MB) | met |\n\
             | `docker run --rm` | 300.0 ms | 300.0 ms | 1.00 | 1 |  |  |\n\
             | image as `tar:` | 195.8 MB |  |  | 1 | 200 MB | met |\n"
        );
    }

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        let page = "# Measured\n\n<!-- bench -->\nold\n<!-- /bench -->\n\n- note\n";
        let written = with_block(page, "new\n").expect("marks");
        assert_eq!(written, "# Measured\n\n<!-- bench -->\nnew\n<!-- /bench -->\n\n- note\n");
        assert!(with_block("# Measured\n", "new\n").is_err());
    }
}
