//! Debian version numbers: `[epoch:]upstream[-revision]`, ordered by the rules of Debian policy 5.6.12.

use std::cmp::Ordering;
use std::fmt;

/// A Debian version, ordered as dpkg orders it.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// Wraps a version as a package index gives it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    fn parts(&self) -> (u64, &str, &str) {
        let (epoch, rest) = match self.0.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, self.0.as_str()),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (epoch, upstream, revision) = self.parts();
        let (other_epoch, other_upstream, other_revision) = other.parts();
        epoch
            .cmp(&other_epoch)
            .then_with(|| compare(upstream, other_upstream))
            .then_with(|| compare(revision, other_revision))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// Compares two parts: runs of non-digits and runs of digits in turn.
fn compare(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (left_text, left_rest) = split_at_first(left, |byte| byte.is_ascii_digit());
        let (right_text, right_rest) = split_at_first(right, |byte| byte.is_ascii_digit());
        let by_text = compare_text(left_text, right_text);
        if by_text != Ordering::Equal {
            return by_text;
        }
        let (left_digits, left_rest) = split_at_first(left_rest, |byte| !byte.is_ascii_digit());
        let (right_digits, right_rest) = split_at_first(right_rest, |byte| !byte.is_ascii_digit());
        let left_digits = left_digits.trim_start_matches('0');
        let right_digits = right_digits.trim_start_matches('0');
        let by_number =
            left_digits.len().cmp(&right_digits.len()).then_with(|| left_digits.cmp(right_digits));
        if by_number != Ordering::Equal || (left_rest.is_empty() && right_rest.is_empty()) {
            return by_number;
        }
        (left, right) = (left_rest, right_rest);
    }
}

fn split_at_first(text: &str, stop: impl Fn(u8) -> bool) -> (&str, &str) {
    // A stop byte is ASCII or the text has none of them, so this is always a character boundary.
    let end = text.bytes().position(|byte| stop(byte) && byte.is_ascii()).unwrap_or(text.len());
    text.split_at(end)
}

/// `~` sorts before everything, even the end; letters before all other characters.
fn compare_text(left: &str, right: &str) -> Ordering {
    let weight = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    let (mut left, mut right) = (left.bytes(), right.bytes());
    loop {
        let (a, b) = (left.next(), right.next());
        if a.is_none() && b.is_none() {
            return Ordering::Equal;
        }
        let order = weight(a).cmp(&weight(b));
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_is_dpkgs() {
        // Each list is in ascending order.
        let lists: &[&[&str]] = &[
            &["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-1", "1.0a", "1.0+b1", "1.0.1"],
            &["9", "10", "1:0", "2:0~rc1", "2:0"],
            &["28.5.2+dfsg4-5", "28.5.2+dfsg4-5+b1", "28.5.2+dfsg4-10"],
            &["1.3.6~rc1+ds1-1", "1.3.6+ds1-1"],
            &["2.41-12", "2.41-12+deb13u5", "2.43-7"],
        ];
        for list in lists {
            for (index, low) in list.iter().enumerate() {
                for high in &list[index + 1..] {
                    assert!(Version::new(low) < Version::new(high), "{low} < {high}");
                    assert!(Version::new(high) > Version::new(low), "{high} > {low}");
                }
            }
        }
    }

    #[test]
    fn zeros_and_missing_revisions_do_not_count() {
        assert_eq!(Version::new("1.0"), Version::new("0:1.00"));
        assert_eq!(Version::new("1.0-0"), Version::new("1.0"));
        assert_eq!(Version::new("007"), Version::new("7"));
    }

    proptest! {
        #[test]
        fn order_is_total(a in "[0-9a-z.+~:é-]{0,12}", b in "[0-9a-z.+~:é-]{0,12}", c in "[0-9a-z.+~:-]{0,12}") {
            let (a, b, c) = (Version::new(&a), Version::new(&b), Version::new(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
