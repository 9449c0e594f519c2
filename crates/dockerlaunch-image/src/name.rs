//! The name that an image carries.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;

use crate::request::ParseOptionError;

/// An image's name and tag, as engines and registries accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// As it was given, and with a tag.
    short: String,
    reference: Reference,
}

impl ImageName {
    /// The name with the registry that it means: what containerd calls it.
    pub(crate) fn full(&self) -> String {
        self.reference.whole()
    }

    pub(crate) fn tag(&self) -> &str {
        self.reference.tag().unwrap_or_default()
    }
}

impl Default for ImageName {
    fn default() -> Self {
        let (name, tag) = ("from-scratch", "latest");
        Self {
            short: format!("{name}:{tag}"),
            reference: Reference::with_tag("docker.io".to_owned(), format!("library/{name}"), tag.to_owned()),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short)
    }
}

impl FromStr for ImageName {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad =
            |expected| ParseOptionError { what: "invalid image name", value: text.to_owned(), expected };
        let form = "NAME[:TAG] with the name in lower case, such as team/docker:28";
        let reference: Reference = text.parse().map_err(|_| bad(form))?;
        if reference.digest().is_some() {
            return Err(bad("NAME[:TAG] without a digest, which only the finished image has"));
        }
        // The library takes more than Docker does.
        let lower = !reference.repository().chars().any(|c| c.is_ascii_uppercase());
        let Some(tag) = reference.tag().filter(|_| text.is_ascii() && lower) else { return Err(bad(form)) };
        let tagged = text.ends_with(&format!(":{tag}"));
        let short = if tagged { text.to_owned() } else { format!("{text}:{tag}") };
        Ok(Self { short, reference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        for (given, short, full) in [
            ("a", "a:latest", "docker.io/library/a:latest"),
            ("a:1", "a:1", "docker.io/library/a:1"),
            ("team/a:1.2-RC_3", "team/a:1.2-RC_3", "docker.io/team/a:1.2-RC_3"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
            ("localhost:5000/a:5000", "localhost:5000/a:5000", "localhost:5000/a:5000"),
            ("registry.example/a__b/c.d:2", "registry.example/a__b/c.d:2", "registry.example/a__b/c.d:2"),
        ] {
            let name: ImageName = given.parse().unwrap();
            assert_eq!((name.to_string().as_str(), name.full().as_str()), (short, full));
        }
        assert_eq!("from-scratch".parse(), Ok(ImageName::default()));
    }

    #[test]
    fn what_docker_would_refuse_is_refused() {
        let (long_tag, digest) = (format!("a:{}", "x".repeat(129)), format!("a:1@sha256:{}", "0".repeat(64)));
        for bad in [
            "",
            "A",
            "Team/a",
            "a:",
            ":1",
            "a b",
            "a:b c",
            "a/",
            "/a",
            "a//b",
            "-a",
            "a-",
            ".a",
            "a:-1",
            "a:é",
            "é",
            "a:1:2",
            "a@1",
            "http://a/b",
            &long_tag,
        ] {
            let error = bad.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.ends_with("such as team/docker:28"), "{bad}: {error}");
        }
        assert!(digest.parse::<ImageName>().unwrap_err().to_string().contains("without a digest"));
    }
}
