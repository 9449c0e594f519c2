//! The whole image as a picture: an area for each component, in it one for each file, as large as they are.

use std::fmt::Write as _;

use super::{parts, share, short, size, summary};
use crate::contents::{Class, Contents};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;

/// The line above the picture.
const CAPTION: f64 = 24.0;

/// Between areas the page shows, be it light or dark.
const GAP: f64 = 2.0;

/// A component's name stands above its files.
const HEADING: f64 = 20.0;

const FONT: f64 = 12.0;

/// Of the widest of the fonts named below.
const CHARACTER: f64 = 7.4;

/// Per cent of the image below which files of a component are one area, and components one component.
const TOO_SMALL: f64 = 0.25;

/// Of files and of what is around them. Light enough for dark text, and dark enough for a white page: the same in both.
const COLOURS: [(&str, &str); 8] = [
    ("#7cb5e8", "#b5d5f2"),
    ("#8fcf9b", "#c3e5c9"),
    ("#f2c46d", "#f8dfae"),
    ("#e59c9c", "#f1c8c8"),
    ("#b9a7e6", "#d8cef2"),
    ("#7fd1c7", "#b8e5df"),
    ("#e8a978", "#f3d0b5"),
    ("#c3c9d1", "#dfe2e7"),
];

const TEXT: &str = "#15202b";

#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn within(self, top: f64) -> Self {
        let Self { x, y, width, height } = self;
        Self {
            x: x + GAP,
            y: y + top,
            width: (width - 2.0 * GAP).max(0.0),
            height: (height - top - GAP).max(0.0),
        }
    }
}

/// One area of the picture, and what it says.
struct Tile {
    name: String,
    size: u64,
}

/// The picture, as SVG.
#[must_use]
pub fn treemap(contents: &Contents) -> String {
    let whole: u64 = contents.entries.iter().map(|entry| entry.size).sum();
    let mut out = format!(
        "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" xmlns=\"http://www.w3.org/2000/svg\" \
         font-family=\"SFMono-Regular, Consolas, Liberation Mono, Menlo, monospace\" font-size=\"{FONT}\">\n\
         <style>.caption {{ fill: #6e7781 }} @media (prefers-color-scheme: dark) {{ .caption {{ fill: #9ea7b3 }} }}</style>\n\
         <text class=\"caption\" x=\"{GAP}\" y=\"15\">{}</text>\n",
        escaped(&format!(
            "{} in {} files, out of {} packages of Debian {}",
            size(whole),
            contents.entries.iter().filter(|entry| entry.class != Class::Link).count(),
            contents.packages.len(),
            contents.suite,
        )),
    );
    let (large, small): (Vec<_>, Vec<_>) = parts(contents)
        .into_iter()
        .filter(|part| part.size > 0)
        .partition(|part| share(part.size, contents) >= TOO_SMALL);
    let mut groups: Vec<(String, String, Vec<Tile>)> = large
        .iter()
        .map(|part| (part.name.to_owned(), summary(part.name).to_owned(), tiles(contents, &part.entries)))
        .collect();
    if !small.is_empty() {
        let names: Vec<&str> = small.iter().map(|part| part.name).collect();
        let size = small.iter().map(|part| part.size).sum();
        let tile = Tile { name: names.join(", "), size };
        groups.push(("others".to_owned(), names.join(", "), vec![tile]));
    }
    let weigh = |tiles: &[Tile]| tiles.iter().map(|tile| tile.size as f64).sum::<f64>();
    let weights: Vec<f64> = groups.iter().map(|(.., tiles)| weigh(tiles)).collect();
    let page = Area { x: 0.0, y: CAPTION, width: WIDTH, height: HEIGHT - CAPTION };
    for (number, ((name, summary, tiles), area)) in groups.iter().zip(squarify(&weights, page)).enumerate() {
        group(&mut out, COLOURS[number % COLOURS.len()], (name, summary), tiles, area, contents);
    }
    out + "</svg>\n"
}

fn tiles(contents: &Contents, entries: &[&crate::Entry]) -> Vec<Tile> {
    let files = entries.iter().filter(|entry| entry.size > 0);
    let (large, small): (Vec<&crate::Entry>, Vec<_>) =
        files.copied().partition(|entry| share(entry.size, contents) >= TOO_SMALL);
    let mut tiles: Vec<Tile> =
        large.iter().map(|entry| Tile { name: short(&entry.path).to_owned(), size: entry.size }).collect();
    tiles.sort_by_key(|tile| std::cmp::Reverse(tile.size));
    if !small.is_empty() {
        let size = small.iter().map(|entry| entry.size).sum();
        let name = match small[..] {
            [one] => short(&one.path).to_owned(),
            _ => format!("{} small files", small.len()),
        };
        tiles.push(Tile { name, size });
    }
    tiles
}

fn group(
    out: &mut String,
    (files, around): (&str, &str),
    (name, summary): (&str, &str),
    tiles: &[Tile],
    area: Area,
    contents: &Contents,
) {
    let whole: u64 = tiles.iter().map(|tile| tile.size).sum();
    let told = |size_: u64| format!("{}, {:.1} %", size(size_), share(size_, contents));
    let heading = [format!("{name}: {}", told(whole)), format!("{name} {}", size(whole)), name.to_owned()]
        .into_iter()
        .find(|text| fits(text, area) && area.height > 2.0 * HEADING);
    let _ = writeln!(out, "<g fill=\"{files}\"><title>{}</title>", escaped(&format!("{name}: {summary}")));
    rectangle(out, area, &format!("fill=\"{around}\""));
    if let Some(heading) = &heading {
        text(out, area, 0, heading, true);
    }
    let inside = area.within(if heading.is_some() { HEADING } else { GAP });
    let weights: Vec<f64> = tiles.iter().map(|tile| tile.size as f64).collect();
    for (tile, area) in tiles.iter().zip(squarify(&weights, inside)) {
        let _ = write!(out, "<g><title>{}</title>", escaped(&format!("{}: {}", tile.name, told(tile.size))));
        rectangle(out, area, "");
        // Where a component is too small for a heading, its file stands for it.
        let last = tile.name.rsplit('/').next().unwrap_or(&tile.name);
        let names = if heading.is_some() { [tile.name.as_str(), last] } else { [name, last] };
        let whole = names.into_iter().find(|name| fits(name, area)).map(str::to_owned);
        if let Some(name) = whole.or_else(|| beginning(if heading.is_some() { last } else { name }, area)) {
            text(out, area, 0, &name, false);
            let told = [told(tile.size), size(tile.size)].into_iter().find(|text| fits(text, area));
            if let Some(told) = told.filter(|_| area.height > 2.5 * FONT + 8.0) {
                text(out, area, 1, &told, false);
            }
        }
        out.push_str("</g>\n");
    }
    out.push_str("</g>\n");
}

fn fits(text: &str, area: Area) -> bool {
    text.chars().count() as f64 * CHARACTER + 10.0 <= area.width - GAP && area.height - GAP >= FONT + 6.0
}

/// As much of a name as there is room for, if that still says something.
fn beginning(name: &str, area: Area) -> Option<String> {
    const ENOUGH: usize = 5;
    (ENOUGH..name.chars().count())
        .rev()
        .map(|length| name.chars().take(length).chain(['…']).collect::<String>())
        .find(|beginning| fits(beginning, area))
}

fn rectangle(out: &mut String, area: Area, more: &str) {
    let _ = write!(
        out,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" {more}/>",
        area.x + GAP / 2.0,
        area.y + GAP / 2.0,
        (area.width - GAP).max(0.5),
        (area.height - GAP).max(0.5),
    );
}

fn text(out: &mut String, area: Area, line: u8, text: &str, bold: bool) {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{TEXT}\"{weight}>{}</text>",
        area.x + 6.0,
        area.y + 15.0 + f64::from(line) * 15.0,
        escaped(text),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Areas of these sizes, largest first, that fill the whole and are as near to squares as they can: Bruls, Huizing and
/// van Wijk, "Squarified Treemaps".
fn squarify(weights: &[f64], whole: Area) -> Vec<Area> {
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return Vec::new();
    }
    let scale = whole.width * whole.height / total;
    let sizes: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
    let (mut areas, mut left, mut from) = (Vec::new(), whole, 0);
    while from < sizes.len() {
        let side = left.width.min(left.height);
        let mut to = from + 1;
        while to < sizes.len() && worst(&sizes[from..=to], side) <= worst(&sizes[from..to], side) {
            to += 1;
        }
        left = lay(&sizes[from..to], left, &mut areas);
        from = to;
    }
    areas
}

/// How far from a square the worst of a row along a side is.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let ratio = |size: f64| {
        let ratio = side * side * size / (sum * sum);
        ratio.max(1.0 / ratio)
    };
    row.iter().copied().map(ratio).fold(0.0, f64::max)
}

/// Puts a row along the shorter side and returns what is left.
fn lay(row: &[f64], area: Area, areas: &mut Vec<Area>) -> Area {
    let sum: f64 = row.iter().sum();
    let Area { mut x, mut y, width, height } = area;
    if width >= height {
        let depth = if height > 0.0 { (sum / height).min(width) } else { 0.0 };
        for size in row {
            let height = size / sum * height;
            areas.push(Area { x, y, width: depth, height });
            y += height;
        }
        Area { x: x + depth, y: area.y, width: width - depth, height }
    } else {
        let depth = if width > 0.0 { (sum / width).min(height) } else { 0.0 };
        for size in row {
            let width = size / sum * width;
            areas.push(Area { x, y, width, height: depth });
            x += width;
        }
        Area { x: area.x, y: y + depth, width, height: height - depth }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the sizes: each has its area, inside of the whole, and none lies on another.
        #[test]
        fn areas_fill_the_whole(mut weights in prop::collection::vec(1.0..1e8f64, 1..40)) {
            weights.sort_by(|a, b| b.total_cmp(a));
            let whole = Area { x: 5.0, y: 7.0, width: 300.0, height: 200.0 };
            let areas = squarify(&weights, whole);
            let total: f64 = weights.iter().sum();
            prop_assert_eq!(areas.len(), weights.len());
            for (area, weight) in areas.iter().zip(&weights) {
                let wanted = weight / total * 300.0 * 200.0;
                prop_assert!((area.width * area.height - wanted).abs() < 0.01 * wanted + 1e-6, "{area:?} {wanted}");
                prop_assert!(area.x >= 4.999 && area.x + area.width <= 305.001);
                prop_assert!(area.y >= 6.999 && area.y + area.height <= 207.001);
            }
            for (number, a) in areas.iter().enumerate() {
                for b in &areas[number + 1..] {
                    let wide = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
                    let high = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
                    prop_assert!(wide < 1e-6 || high < 1e-6, "{a:?} lies on {b:?}");
                }
            }
        }
    }
}
