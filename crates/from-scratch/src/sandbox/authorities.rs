//! CA certificates of the host that an engine inside is to trust.

use std::path::PathBuf;

use super::stage::Bind;

/// The CA certificates of `DOCKER_EXTRA_CA`: those that it names by paths of the host, seen inside under others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Authorities {
    pub(crate) binds: Vec<Bind>,
    /// The variable's value inside.
    pub(crate) value: String,
}

impl Authorities {
    pub(crate) fn of(named: &str) -> Self {
        let mut authorities = Self { binds: Vec::new(), value: named.to_owned() };
        // Text is as good inside.
        if named.contains("-----BEGIN") {
            return authorities;
        }
        let mut inside = |(number, path): (usize, &str)| {
            let source = PathBuf::from(path);
            // What is not on the host may be in the image.
            if !source.is_absolute() || !source.exists() {
                return path.to_owned();
            }
            let target = format!("/etc/dockerlaunch/extra-ca/{number}");
            authorities.binds.push(Bind { source, target: PathBuf::from(&target) });
            target
        };
        let paths: Vec<String> = named.split(':').enumerate().map(&mut inside).collect();
        authorities.value = paths.join(":");
        authorities
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn certificates_of_the_host_are_seen_inside() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("ca.pem");
        fs::write(&file, "x").expect("written");
        let named = format!("{}:/not/here.pem:relative.pem:{}", file.display(), directory.path().display());
        let authorities = Authorities::of(&named);
        let inside = "/etc/dockerlaunch/extra-ca/0:/not/here.pem:relative.pem:/etc/dockerlaunch/extra-ca/3";
        assert_eq!(authorities.value, inside);
        let sources: Vec<&Path> = authorities.binds.iter().map(|bind| bind.source.as_path()).collect();
        assert_eq!(sources, [file.as_path(), directory.path()]);
        let text = "-----BEGIN CERTIFICATE-----\n:";
        assert_eq!(Authorities::of(text), Authorities { binds: vec![], value: text.to_owned() });
    }
}
