//! The picture: what each line is of the same engine's without us, looking as `dockerlaunch report --svg` does.

use std::fmt::Write as _;

use super::line::Line;
use super::record::Record;

const ROW: usize = 18;
/// Rows of text above the bars.
const HEAD: usize = 4;

/// Names end here, bars begin a little further on, and figures need the rest.
const NAMES: f64 = 376.0;
const BARS: f64 = NAMES + 8.0;
const WIDTH: f64 = 340.0;

/// Times and sizes, by colour.
const TIME: &str = "#5fafd7";
const SIZE: &str = "#87af5f";
/// The bare engine's line, and bars of the design.
const BARE: &str = "#d7875f";
const BAR: &str = "#fff";

pub(super) fn svg(record: &Record) -> String {
    let lines: Vec<(&Line, f64)> =
        record.lines.iter().filter_map(|line| Some((line, line.ratio()?))).collect();
    // Room for what is best read: a little more than the bare engine, or all of it.
    let most = lines.iter().map(|(_, ratio)| *ratio).fold(1.2, f64::max);
    let at = |ratio: f64| BARS + ratio.min(most) / most * WIDTH;
    let (bottom, one) = ((lines.len() + HEAD) * ROW, at(1.0));
    let mut out = format!(
        "<svg width=\"960\" height=\"{}\" xmlns=\"http://www.w3.org/2000/svg\" \
         font-family=\"SFMono-Regular, Consolas, Liberation Mono, Menlo, monospace\" font-size=\"13\" fill=\"#aaa\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"4.5\" fill=\"#000\"/>\n\
         <text x=\"10\" y=\"22\">ours, as many times the same engine without us; shorter is better; {}, {}</text>\n",
        bottom + 12,
        escaped(&record.date),
        escaped(&record.commit),
    );
    for (row, (line, ratio)) in lines.iter().enumerate() {
        let y = (row + HEAD) * ROW;
        let colour = if line.unit == "MB" { SIZE } else { TIME };
        let bare = line.bare().map(|bare| line.shown(bare)).unwrap_or_default();
        let limit = line.limit().zip(line.bare()).map(|(limit, bare)| limit / bare);
        // One far beyond the picture would show nothing.
        let limit = limit.filter(|limit| *limit <= most);
        let _ = writeln!(
            out,
            "<text x=\"{NAMES}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{BARS}\" y=\"{}\" width=\"{:.1}\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{y}\">{ratio:.2} × ({} / {bare})</text>",
            escaped(&line.what.replace('`', "")),
            y - 11,
            (at(*ratio) - BARS).max(1.0),
            at(ratio.max(1.0).max(limit.unwrap_or_default())) + 8.0,
            line.shown(line.ours()),
        );
        if let Some(limit) = limit {
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{}\" width=\"2\" height=\"16\" fill=\"{BAR}\"/>",
                at(limit),
                y - 13
            );
        }
    }
    let _ = writeln!(
        out,
        "<rect x=\"{one:.1}\" y=\"54\" width=\"1\" height=\"{}\" fill=\"{BARE}\"/>\n\
         <text x=\"10\" y=\"40\"><tspan fill=\"{TIME}\">times</tspan> <tspan fill=\"{SIZE}\">memory</tspan> \
         <tspan fill=\"{BARE}\">the bare engine</tspan> <tspan fill=\"{BAR}\">bars</tspan></text>",
        bottom - 50,
    );
    out + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::example;
    use super::*;

    #[test]
    fn each_line_with_a_ratio_is_in_the_picture() {
        let record = example();
        let svg = svg(&record);
        let document = roxmltree::Document::parse(&svg).expect("well-formed");
        let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
        let names = ["docker stop", "warm up", "idle & settled", "docker run --rm"];
        for name in names {
            assert!(texts.contains(&name), "{name} is not in {texts:?}");
        }
        assert!(texts.contains(&"0.14 × (290.0 ms / 2100 ms)"), "{texts:?}");
        assert!(!svg.contains("image as"), "there is nothing to compare the image with");
    }

    #[test]
    fn bars_are_as_long_as_their_ratios() {
        let svg = svg(&example());
        let document = roxmltree::Document::parse(&svg).expect("well-formed");
        let bars = document.descendants().filter(|node| node.attribute("height") == Some("12"));
        let widths: Vec<f64> = bars.filter_map(|node| node.attribute("width")?.parse().ok()).collect();
        let full = record_ratios(&example()).into_iter().fold(0.0, f64::max);
        for (width, ratio) in widths.iter().zip(record_ratios(&example())) {
            assert!((width - ratio / full * WIDTH).abs() < 0.1, "{width} is not {ratio} of {full}");
        }
        assert_eq!(widths.len(), 4);
    }

    fn record_ratios(record: &Record) -> Vec<f64> {
        record.lines.iter().filter_map(Line::ratio).collect()
    }
}
