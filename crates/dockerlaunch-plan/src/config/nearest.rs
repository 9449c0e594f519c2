//! What somebody may have meant.

/// The candidate that `name` is a slip of the finger away from: one letter in three is wrong, missing, added, or has
/// changed places with the next.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use crate::config::first_words;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        for (slip, meant) in [
            ("chek", "check"),
            ("plann", "plan"),
            ("dcokerd", "dockerd"),
            ("heathcheck", "healthcheck"),
            ("imgaes", "images"),
            ("pss", "ps"),
        ] {
            assert_eq!(nearest(slip, first_words()), Some(meant));
        }
        for other in ["sh", "ls", "bash", "make", "", "/bin/true"] {
            assert_eq!(nearest(other, first_words()), None, "{other}");
        }
    }
}
