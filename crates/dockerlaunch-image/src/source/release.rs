//! The Release file of a suite: what it says about itself, and the digests of its indexes.

use std::collections::HashMap;

use jiff::Timestamp;

use super::apt::stanzas;
use crate::digest::Digest;

/// A parsed Release file. Only signed text may be parsed into one.
#[derive(Debug, Clone)]
pub struct Release {
    /// `Origin`: who made the archive.
    pub origin: String,
    /// `Suite`: `testing`, `stable`, …
    pub suite: String,
    /// `Codename`: `forky`, `trixie-security`, …
    pub codename: String,
    /// `Date`.
    pub date: Timestamp,
    /// `Valid-Until`.
    pub valid_until: Option<Timestamp>,
    /// `Acquire-By-Hash`.
    pub by_hash: bool,
    indexes: HashMap<String, IndexEntry>,
}

/// An index as a Release file lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Size of the file.
    pub size: u64,
}

/// The signed text is not a usable Release file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReleaseError {
    /// A field is missing.
    #[error("the Release file has no field `{0}`")]
    Missing(&'static str),
    /// A date cannot be read.
    #[error("the Release file's {field} is no date: `{value}`")]
    Date {
        /// Name of the field.
        field: &'static str,
        /// What stands there.
        value: String,
    },
}

impl Release {
    /// Parses the text of a Release file.
    ///
    /// # Errors
    ///
    /// When a field that the checks rest on is missing or unreadable.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let stanza = stanzas(text).into_iter().next().unwrap_or_default();
        let field = |name: &str| {
            stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let text_field = |name| field(name).unwrap_or_default().to_owned();
        let date = field("Date").ok_or(ReleaseError::Missing("Date"))?;
        let list = field("SHA256").ok_or(ReleaseError::Missing("SHA256"))?;
        Ok(Self {
            origin: text_field("Origin"),
            suite: text_field("Suite"),
            codename: text_field("Codename"),
            date: parse_date("Date", date)?,
            valid_until: field("Valid-Until").map(|value| parse_date("Valid-Until", value)).transpose()?,
            by_hash: field("Acquire-By-Hash").is_some_and(|value| value == "yes"),
            indexes: list.lines().filter_map(parse_entry).collect(),
        })
    }

    /// The index at this path below the suite's directory.
    #[must_use]
    pub fn index(&self, path: &str) -> Option<IndexEntry> {
        self.indexes.get(path).copied()
    }

    /// Whether `suite` is a name of what this Release file describes. Without this check a mirror could pass one
    /// suite's validly signed file off as another's.
    #[must_use]
    pub fn is_called(&self, suite: &str) -> bool {
        self.codename == suite || self.suite == suite
    }
}

fn parse_entry(line: &str) -> Option<(String, IndexEntry)> {
    let mut words = line.split_whitespace();
    let digest = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    Some((words.next()?.to_owned(), IndexEntry { digest, size }))
}

fn parse_date(field: &'static str, value: &str) -> Result<Timestamp, ReleaseError> {
    // Always UTC, as the archive's own tools write it: "Fri, 30 Oct 2026 08:08:01 UTC".
    let plain = value
        .strip_suffix(" UTC")
        .or_else(|| value.strip_suffix(" GMT"))
        .or_else(|| value.strip_suffix(" +0000"));
    plain
        .and_then(|plain| jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S", plain).ok())
        .and_then(|date| jiff::tz::TimeZone::UTC.to_timestamp(date).ok())
        .ok_or_else(|| ReleaseError::Date { field, value: value.to_owned() })
}

/// Why a Release file's dates are not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateProblem {
    /// `Valid-Until` has passed.
    Expired(Timestamp),
    /// `Date` lies in the future.
    Future(Timestamp),
}

/// How far a mirror's clock may be ahead of ours.
const CLOCK_TOLERANCE: i64 = 300;

/// Compares a Release file's dates with the clock.
#[must_use]
pub fn judge_dates(release: &Release, now: Timestamp) -> Option<DateProblem> {
    if release.date.as_second() > now.as_second() + CLOCK_TOLERANCE {
        return Some(DateProblem::Future(release.date));
    }
    release.valid_until.filter(|until| *until < now).map(DateProblem::Expired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "Origin: Debian\nSuite: testing\nCodename: forky\nDate: Fri, 30 Oct 2026 08:08:01 UTC\n\
        Valid-Until: Fri, 06 Nov 2026 08:08:01 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n 00 1 main/x\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 7 main/binary-amd64/Packages.xz\n nonsense\n";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn fields_and_digests() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!(release.origin, "Debian");
        assert!(release.is_called("forky") && release.is_called("testing") && !release.is_called("trixie"));
        assert!(release.by_hash);
        assert_eq!(release.date, at("2026-10-30T08:08:01Z"));
        assert_eq!(
            release.index("main/binary-amd64/Packages.xz"),
            Some(IndexEntry { digest: Digest::of(b""), size: 7 })
        );
        assert_eq!(release.index("main/x"), None, "only SHA-256 counts");
    }

    #[test]
    fn what_the_checks_rest_on_must_be_there() {
        assert_eq!(Release::parse("").unwrap_err(), ReleaseError::Missing("Date"));
        let without = TEXT.replace("SHA256:", "SHA1:");
        assert_eq!(Release::parse(&without).unwrap_err(), ReleaseError::Missing("SHA256"));
        let odd = TEXT.replace("Fri, 06 Nov 2026 08:08:01 UTC", "tomorrow");
        assert!(matches!(Release::parse(&odd), Err(ReleaseError::Date { field: "Valid-Until", .. })));
    }

    #[test]
    fn dates_against_the_clock() {
        let release = Release::parse(TEXT).unwrap();
        let until = release.valid_until.unwrap();
        assert_eq!(judge_dates(&release, at("2026-11-01T00:00:00Z")), None);
        assert_eq!(judge_dates(&release, at("2026-11-06T08:08:01Z")), None, "the last second counts");
        assert_eq!(judge_dates(&release, at("2026-11-06T08:08:02Z")), Some(DateProblem::Expired(until)));
        assert_eq!(judge_dates(&release, at("2026-10-30T08:04:00Z")), None, "clocks may differ a little");
        assert_eq!(
            judge_dates(&release, at("2026-10-30T08:00:00Z")),
            Some(DateProblem::Future(release.date))
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = Release::parse(&text);
            let _ = Release::parse(&format!("Date: {text}\nSHA256:\n {text}\n"));
        }
    }
}
