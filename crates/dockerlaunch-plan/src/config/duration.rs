//! Times as people write them: `8`, `8s`, `500ms`, `1m30s` (as Go's `time.ParseDuration`, with whole numbers).

use std::time::Duration;

/// Longer than any machine runs, and short enough to be added to a clock.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Understands a time; a plain number counts seconds.
pub fn parse(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds)).filter(|time| *time <= LONGEST);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, tail) = tail.split_at(letters);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        total = total.checked_add(Duration::from_millis(part)).filter(|time| *time <= LONGEST)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A time for people: `8s`, `1m30s`, `500ms`.
pub fn show(time: Duration) -> String {
    let (seconds, milliseconds) = (time.as_secs(), time.subsec_millis());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(milliseconds), "ms"),
    ];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_time() {
        for (text, milliseconds) in
            [("8", 8000), ("8s", 8000), ("500ms", 500), ("1m30s", 90_000), ("2h", 7_200_000), ("0", 0)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_time() {
        for text in
            ["", "s", "soon", "-1", "1.5s", "8 s", "8s!", "1d", "99999999999999999999", "9999999h9999999h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_understood(milliseconds in 0u64..10_000_000_000) {
            let time = Duration::from_millis(milliseconds);
            proptest::prop_assert_eq!(parse(&show(time)), Some(time));
        }

        #[test]
        fn never_panics(text in ".{0,30}") {
            let _ = parse(&text);
        }
    }
}
