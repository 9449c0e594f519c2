//! What a launch spent its time on, in the order in which it happened.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::log::rfc3339;

/// Where the last launch of this system is written down.
pub const REPORT: &str = "/run/dockerlaunch/report.json";

/// Who spent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The launcher, besides its steps.
    Launcher,
    /// A step.
    Step,
    /// The engine.
    Engine,
}

impl Who {
    /// A word for people, and the colour of its bars.
    fn shown(self) -> (&'static str, &'static str) {
        [("launcher", "#5fafd7"), ("step", "#87af5f"), ("engine", "#d7875f")][self as usize]
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Who spent it.
    pub who: Who,
    /// On what.
    pub what: String,
    /// Its start, in microseconds since the launcher's.
    pub start_us: u64,
    /// Its end.
    pub end_us: u64,
}

/// One launch. In JSON these are the fields, and they stay (docs/report.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of this form; 1.
    pub version: u32,
    /// When the launcher began, by the clock.
    pub started: String,
    /// When the engine said that it is ready; none: it has not yet, or nobody stayed to hear it.
    pub ready_us: Option<u64>,
    /// What took time, by its start.
    pub spans: Vec<Span>,
}

/// Files that the engine writes while it starts, below its exec root where they do not begin with `/`; and what is done
/// once they are there.
pub const MARKS: &[(&str, &str)] = &[
    ("/run/docker.pid", "reads its configuration"),
    ("containerd/containerd.toml", "sets up its directories"),
    ("containerd/containerd.sock", CONTAINERD),
];

const CONTAINERD: &str = "starts containerd";

/// What the engine does from the last mark on until it is ready.
const REST: &str = "opens images, networks and containers";

/// What the launcher does at last, and again for each further engine.
pub const STARTS: &str = "starts the engine";

/// What its log says when it is done with something.
const LINES: &[(&str, &str)] = &[
    ("containerd successfully booted", CONTAINERD),
    ("Loading containers: start", "opens images"),
    ("Loading containers: done", "restores containers and networks"),
    ("Completed buildkit init", "starts BuildKit"),
];

/// When the lines of an engine's log say that something was done, since 1970: `time="2026-01-02T03:04:05.6Z" … msg="…`.
pub fn marks_in_log(lines: &[String]) -> Vec<(Duration, &'static str)> {
    let mark = |line: &String| {
        let (_, what) = LINES.iter().find(|(text, _)| line.contains(text))?;
        let time = line.strip_prefix("time=\"")?.split('"').next()?;
        Some((parse_utc(time)?, *what))
    };
    lines.iter().filter_map(mark).collect()
}

/// A time of RFC 3339 in UTC, since 1970.
fn parse_utc(text: &str) -> Option<Duration> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // `.5` is 500 ms.
    let fraction: String =
        text.get(19..)?.strip_suffix('Z')?.chars().skip(1).chain("000000".chars()).take(6).collect();
    // Days since 1970, from a year that begins in March (the proleptic Gregorian calendar has 146097 days in 400 years).
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = (y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day).checked_sub(719_469)?;
    let seconds = days * 86400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some(Duration::from_secs(seconds) + Duration::from_micros(fraction.parse().ok()?))
}

impl Report {
    /// A launch that begins at this time since 1970.
    pub fn new(started: Duration) -> Self {
        Self { version: 1, started: rfc3339(started), ready_us: None, spans: Vec::new() }
    }

    /// Reads what [`crate::render::json`] has written; `None`: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let span = |span: &Value| {
            let who = [Who::Launcher, Who::Step, Who::Engine]
                .into_iter()
                .find(|who| who.shown().0 == span["who"])?;
            Some(Span {
                who,
                what: span["what"].as_str()?.to_owned(),
                start_us: span["start_us"].as_u64()?,
                end_us: span["end_us"].as_u64()?,
            })
        };
        Some(Self {
            version: 1,
            started: value["started"].as_str()?.to_owned(),
            ready_us: value["ready_us"].as_u64(),
            spans: value["spans"].as_array()?.iter().map(span).collect::<Option<_>>()?,
        })
    }

    /// Adds something that took time; all since the launcher's start.
    pub fn add(&mut self, who: Who, what: impl Into<String>, start: Duration, end: Duration) {
        self.spans.push(Span { who, what: what.into(), start_us: micros(start), end_us: micros(end) });
    }

    /// The engine, started at `start`, is ready; `marks` are the ends of what it did until then, and at `beside` a containerd
    /// of our own was there. An engine before this one is forgotten, and so are all starts but the first: between them it is
    /// not the launcher that spends the time.
    pub fn ready(
        &mut self,
        start: Duration,
        ready: Duration,
        beside: Option<Duration>,
        mut marks: Vec<(Duration, &'static str)>,
    ) {
        let mut starts = 0;
        self.spans.retain(|span| {
            starts += u32::from(span.what == STARTS);
            span.who != Who::Engine && (span.what != STARTS || starts == 1)
        });
        marks.retain(|(at, _)| (start..=ready).contains(at));
        if beside.is_some() {
            // The engine waits for no containerd of its own.
            marks.retain(|(_, what)| *what != CONTAINERD);
        }
        if let Some(at) = beside.filter(|at| (start..=ready).contains(at)) {
            self.add(Who::Engine, "starts containerd, meanwhile", start, at);
        }
        marks.push((ready, REST));
        let mut from = start;
        // A handful, so the next one is looked for each time.
        while let Some(next) = (0..marks.len()).min_by_key(|index| marks[*index].0) {
            let (at, what) = marks.remove(next);
            self.add(Who::Engine, what, from, at);
            from = at;
        }
        self.ready_us = Some(micros(ready));
    }

    fn end(&self) -> u64 {
        self.spans.iter().map(|span| span.end_us).chain(self.ready_us).max().unwrap_or_default().max(1)
    }

    fn head(&self) -> String {
        let prepared = self.spans.iter().filter(|span| span.who != Who::Engine).map(|span| span.end_us).max();
        let prepared = millis(prepared.unwrap_or_default());
        match self.ready_us {
            Some(ready) => format!(
                "ready {} ms after {}, {prepared} ms of them the launcher's",
                millis(ready),
                self.started
            ),
            None => format!(
                "prepared within {prepared} ms of {}; nobody has heard of the engine since",
                self.started
            ),
        }
    }

    /// As people read it.
    pub fn text(&self) -> String {
        const WIDTH: u64 = 40;
        let mut out = self.head() + "\n\n    start ms   took ms\n";
        for span in &self.spans {
            let at = |time: u64| time * WIDTH / self.end();
            let (from, to) = (at(span.start_us), at(span.end_us));
            let bar =
                format!("{:from$}{}", "", "#".repeat((to - from).max(1) as usize), from = from as usize);
            let (who, _) = span.who.shown();
            let (start, took) = (millis(span.start_us), millis(span.end_us.saturating_sub(span.start_us)));
            let _ = writeln!(out, "  {start:>10}{took:>10}  {bar:<41} {who:<8}  {}", span.what);
        }
        out
    }

    /// As a picture.
    pub fn svg(&self) -> String {
        const ROW: usize = 18;
        const WIDTH: u64 = 560;
        let height = (self.spans.len() + 2) * ROW + 12;
        let mut out = format!(
            "<svg width=\"960\" height=\"{height}\" xmlns=\"http://www.w3.org/2000/svg\" \
             font-family=\"SFMono-Regular, Consolas, Liberation Mono, Menlo, monospace\" font-size=\"13\" fill=\"#aaa\">\n\
             <rect width=\"100%\" height=\"100%\" rx=\"4.5\" fill=\"#000\"/>\n<text x=\"10\" y=\"22\">{}</text>\n",
            escaped(&self.head())
        );
        for (row, span) in self.spans.iter().enumerate() {
            let at = |time: u64| 10 + time * WIDTH / self.end();
            let (x, y) = (at(span.start_us), (row + 2) * ROW + 4);
            let width = at(span.end_us).saturating_sub(x).max(1);
            let (_, colour) = span.who.shown();
            // The name stands behind its bar, or where that would leave the picture, before it.
            let (text, anchor) =
                if x + width > 570 { (x - 4, " text-anchor=\"end\"") } else { (x + width + 6, "") };
            let took = millis(span.end_us.saturating_sub(span.start_us));
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"12\" fill=\"{colour}\"/>\
                 <text x=\"{text}\" y=\"{y}\"{anchor}>{} {took} ms</text>",
                y - 11,
                escaped(&span.what)
            );
        }
        out + "</svg>\n"
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(micros: u64) -> String {
    format!("{}.{}", micros / 1000, micros / 100 % 10)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Report {
        let ms = Duration::from_millis;
        let mut report = Report::new(Duration::from_millis(1_790_000_000_250));
        report.add(Who::Launcher, "looks around", ms(0), ms(4));
        report.add(Who::Step, "api.run", Duration::from_micros(4100), ms(6));
        report.add(Who::Launcher, "hook <a&b>", ms(6), ms(40));
        let marks =
            vec![(ms(260), "starts containerd"), (ms(90), "reads its configuration"), (ms(20), "of old")];
        report.ready(ms(41), ms(400), Some(ms(80)), marks);
        report
    }

    #[test]
    fn it_reads_as_designed() {
        insta::assert_snapshot!(example().text());
        insta::assert_snapshot!(example().svg());
        insta::assert_snapshot!(crate::render::json(&example()));
    }

    #[test]
    fn an_engine_that_starts_again_has_its_own_times() {
        let mut report = example();
        let ms = Duration::from_millis;
        let before = report.head();
        report.add(Who::Launcher, STARTS, ms(40), ms(41));
        for start in [600, 1000] {
            report.add(Who::Launcher, STARTS, ms(start - 1), ms(start));
            report.ready(ms(start), ms(start + 200), Some(ms(80)), vec![]);
        }
        let starts = report.spans.iter().filter(|span| span.what == STARTS).count();
        let head = report.head();
        assert!(before.ends_with(", 40.0 ms of them the launcher's"), "{before}");
        assert!(
            starts == 1 && head.starts_with("ready 1200.0 ms ") && head.contains(", 41.0 ms of"),
            "{head}"
        );
        let engine: Vec<_> = report.spans.iter().filter(|span| span.who == Who::Engine).collect();
        assert_eq!((engine.len(), engine[0].start_us, report.ready_us), (1, 1_000_000, Some(1_200_000)));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let report = example();
        assert_eq!(Report::parse(&crate::render::json(&report)), Some(report));
        for nonsense in ["", "{}", "[1]", "{\"started\": \"\", \"spans\": [{}]}"] {
            assert_eq!(Report::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn an_empty_one_is_no_reason_to_fail() {
        let report = Report::new(Duration::ZERO);
        assert!(report.text().contains("nobody has heard") && report.svg().ends_with("</svg>\n"));
    }

    #[test]
    fn times_in_the_engines_log_are_understood() {
        let lines = [
            "time=\"2026-11-25T21:31:06.500000000Z\" level=info msg=\"Loading containers: done.\"",
            "time=\"2024-02-29T00:00:00Z\" level=info msg=\"containerd successfully booted in 0.03s\"",
            "time=\"yesterday\" level=info msg=\"Loading containers: start.\"",
            "\u{1b}[36mINFO\u{1b}[0m Loading containers: done.",
        ];
        let marks = marks_in_log(&lines.map(str::to_owned));
        assert_eq!(
            marks,
            [
                (Duration::from_millis(1_795_642_266_500), "restores containers and networks"),
                (Duration::from_secs(1_709_164_800), "starts containerd"),
            ]
        );
    }
}
