//! What Docker requires, as data: `image/components/*.toml` and `image/profiles.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Hints;

/// The files of `image/`, compiled in so that an installed `from-scratch` is whole.
const COMPONENT_FILES: &[(&str, &str)] = &[
    ("launcher", include_str!("../../../image/components/launcher.toml")),
    ("engine", include_str!("../../../image/components/engine.toml")),
    ("cli", include_str!("../../../image/components/cli.toml")),
    ("iptables", include_str!("../../../image/components/iptables.toml")),
    ("ps", include_str!("../../../image/components/ps.toml")),
    ("xz", include_str!("../../../image/components/xz.toml")),
    ("ca-certificates", include_str!("../../../image/components/ca-certificates.toml")),
    ("etc", include_str!("../../../image/components/etc.toml")),
    ("passt", include_str!("../../../image/components/passt.toml")),
];

const PROFILES_FILE: &str = include_str!("../../../image/profiles.toml");

/// One requirement of Docker: the files that meet it, and why.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Component {
    /// What `--with` and `--without` call it.
    pub name: String,
    /// What it is, in one line.
    pub summary: String,
    /// Why Docker requires it.
    pub why: String,
    /// Whether and how it can be left out, and what that costs.
    pub leave_out: String,
    /// No image works without it.
    #[serde(default)]
    pub required: bool,
    /// Serves the host command and is never part of an image.
    #[serde(default)]
    pub host: bool,
    /// Our own launcher's binary.
    #[serde(default, rename = "launcher")]
    pub launchers: Vec<LauncherFile>,
    /// Files out of packages.
    #[serde(default, rename = "file")]
    pub files: Vec<PackageFile>,
    /// Symbolic links.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
    /// Several links to one target.
    #[serde(default, rename = "links")]
    pub link_sets: Vec<LinkSet>,
    /// Files whose content stands in the component itself.
    #[serde(default, rename = "text")]
    pub texts: Vec<Text>,
}

/// Why a file is in the image. The requirements table, `explain` and the proof tests are made from it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reason {
    /// What a user does with it.
    pub feature: String,
    /// Why it must be there.
    pub why: String,
    /// Whether and how it can be left out.
    pub leave_out: String,
    /// The scenario that fails without it.
    pub proof: String,
}

/// Where the launcher's binary goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LauncherFile {
    /// Place under the private directory.
    pub to: String,
    /// Names in `/usr/bin`.
    #[serde(default)]
    pub public: Vec<String>,
    /// Why it is there.
    #[serde(flatten)]
    pub reason: Reason,
}

/// A file, or several by a glob, out of a distribution package.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackageFile {
    /// The package that has it.
    pub package: String,
    /// Other names of the package, by suite.
    #[serde(default)]
    pub package_in: BTreeMap<String, String>,
    /// Path in the package, with `*` for any characters but a slash.
    pub from: String,
    /// File names that the glob would take and should not.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Place under the private directory; with a slash at the end, a directory for all files found.
    pub to: String,
    /// All files found make one, sorted by path.
    #[serde(default)]
    pub join: bool,
    /// The file must be a static executable.
    #[serde(default, rename = "static")]
    pub must_be_static: bool,
    /// Names in `/usr/bin`.
    #[serde(default)]
    pub public: Vec<String>,
    /// Container images have the public names in `/usr/local/bin` too.
    #[serde(default)]
    pub local: bool,
    /// Why it is there.
    #[serde(flatten)]
    pub reason: Reason,
}

impl PackageFile {
    /// The package's name in this suite.
    #[must_use]
    pub fn package_for(&self, codename: &str) -> &str {
        self.package_in.get(codename).unwrap_or(&self.package)
    }
}

/// A symbolic link.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Place under the private directory.
    pub to: String,
    /// What it points to, as it stands in the link.
    pub target: String,
    /// Names in `/usr/bin`.
    #[serde(default)]
    pub public: Vec<String>,
    /// Container images have the public names in `/usr/local/bin` too.
    #[serde(default)]
    pub local: bool,
    /// Why it is there.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Several symbolic links to one target.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LinkSet {
    /// The links' names.
    pub names: Vec<String>,
    /// Directory under the private directory.
    #[serde(rename = "in")]
    pub directory: String,
    /// What they point to, as it stands in the links.
    pub target: String,
    /// Why they are there.
    #[serde(flatten)]
    pub reason: Reason,
}

/// A small file whose content stands in the component.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Text {
    /// Place under the private directory.
    pub to: String,
    /// The content.
    pub content: String,
    /// Why it is there.
    #[serde(flatten)]
    pub reason: Reason,
}

/// A named set of components.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is for, in one line.
    pub summary: String,
    /// Names of its components.
    pub components: Vec<String>,
}

/// All components and profiles.
#[derive(Debug, Clone)]
pub struct Spec {
    /// In the order of the files.
    pub components: Vec<Component>,
    /// By name.
    pub profiles: BTreeMap<String, Profile>,
}

/// Which components make an image cannot be worked out.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file of `image/` cannot be parsed.
    #[error("image/{file}: {message}")]
    Parse {
        /// Path under `image/`.
        file: String,
        /// What the TOML parser says.
        message: String,
    },
    /// No such component or profile.
    #[error("unknown {kind} `{name}`")]
    Unknown {
        /// `component` or `profile`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The name that is nearest to it.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// A component that every image needs is to be left out.
    #[error("component `{name}` cannot be left out")]
    Required {
        /// Its name.
        name: String,
        /// Why it is needed.
        why: String,
    },
    /// A component for the host is to go into an image.
    #[error("component `{name}` serves the host command and cannot be part of an image")]
    HostSide {
        /// Its name.
        name: String,
    },
    /// A component is both added and taken away.
    #[error("component `{name}` is given with both --with and --without")]
    Both {
        /// Its name.
        name: String,
    },
}

impl Hints for SpecError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Parse { .. } => vec!["correct the file and build again".to_owned()],
            Self::Unknown { nearest: Some(nearest), .. } => vec![format!("did you mean `{nearest}`?")],
            Self::Unknown { kind, known, .. } => vec![format!("the {kind}s are: {}", known.join(", "))],
            Self::Required { why, .. } => vec![why.clone()],
            Self::HostSide { .. } => {
                vec!["leave it out of --with; `from-scratch up` fetches it by itself".to_owned()]
            }
            Self::Both { name } => vec![format!("give `{name}` only once")],
        }
    }
}

static EMBEDDED: LazyLock<Result<Spec, (String, String)>> = LazyLock::new(|| {
    let mut components = Vec::new();
    for (name, text) in COMPONENT_FILES {
        let component: Component =
            toml::from_str(text).map_err(|e| (format!("components/{name}.toml"), e.to_string()))?;
        components.push(component);
    }
    let profiles = toml::from_str(PROFILES_FILE).map_err(|e| ("profiles.toml".to_owned(), e.to_string()))?;
    Ok(Spec { components, profiles })
});

impl Spec {
    /// One digest over all of `image/`: it changes when an image could.
    #[must_use]
    pub fn digest() -> Digest {
        let files = COMPONENT_FILES.iter().map(|(_, text)| *text).chain([PROFILES_FILE]);
        Digest::of(files.collect::<Vec<_>>().join("\0").as_bytes())
    }

    /// The components and profiles compiled into this program.
    ///
    /// # Errors
    ///
    /// When a file of `image/` is not valid; the tests rule that out for what is released.
    pub fn embedded() -> Result<&'static Self, SpecError> {
        EMBEDDED
            .as_ref()
            .map_err(|(file, message)| SpecError::Parse { file: file.clone(), message: message.clone() })
    }

    /// The component of that name.
    ///
    /// # Errors
    ///
    /// When there is none; the error names the nearest.
    pub fn component(&self, name: &str) -> Result<&Component, SpecError> {
        let known = || self.components.iter().map(|component| component.name.as_str());
        self.components
            .iter()
            .find(|component| component.name == name)
            .ok_or_else(|| unknown("component", name, known()))
    }

    /// The components of an image: a profile, what is added to it and what is taken away; or exactly `only`.
    ///
    /// # Errors
    ///
    /// When a name is unknown, or the set makes no sense.
    pub fn select(
        &self,
        profile: &str,
        with: &[String],
        without: &[String],
        only: Option<&[String]>,
    ) -> Result<Vec<&Component>, SpecError> {
        if let Some(names) = only {
            return names.iter().map(|name| self.component(name)).collect();
        }
        let base = self
            .profiles
            .get(profile)
            .ok_or_else(|| unknown("profile", profile, self.profiles.keys().map(String::as_str)))?;
        for name in with {
            if self.component(name)?.host {
                return Err(SpecError::HostSide { name: name.clone() });
            }
            if without.contains(name) {
                return Err(SpecError::Both { name: name.clone() });
            }
        }
        for name in without {
            let component = self.component(name)?;
            if component.required {
                return Err(SpecError::Required { name: name.clone(), why: component.why.clone() });
            }
        }
        let mut names: BTreeSet<&str> = base.components.iter().map(String::as_str).collect();
        names.extend(with.iter().map(String::as_str));
        names.retain(|name| !without.iter().any(|other| other == name));
        names.into_iter().map(|name| self.component(name)).collect()
    }
}

fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> SpecError {
    let known: Vec<String> = known.map(str::to_owned).collect();
    let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    SpecError::Unknown { kind, name: name.to_owned(), nearest, known }
}

/// The candidate most like `name`, when one is like it at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(components: &[&Component]) -> Vec<String> {
        components.iter().map(|component| component.name.clone()).collect()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn embedded_files_are_valid_and_named_as_their_component() {
        let spec = Spec::embedded().unwrap();
        for ((file, _), component) in COMPONENT_FILES.iter().zip(&spec.components) {
            assert_eq!(*file, component.name);
        }
        for (name, profile) in &spec.profiles {
            assert!(!profile.summary.is_empty());
            for component in &profile.components {
                let component = spec.component(component).unwrap();
                assert!(!component.host, "profile {name} holds the host-side {}", component.name);
            }
            for component in spec.components.iter().filter(|component| component.required) {
                assert!(profile.components.contains(&component.name), "{name} lacks {}", component.name);
            }
        }
    }

    #[test]
    fn every_file_of_the_directory_is_compiled_in() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../image/components");
        let mut found: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut compiled: Vec<String> =
            COMPONENT_FILES.iter().map(|(name, _)| format!("{name}.toml")).collect();
        found.sort();
        compiled.sort();
        assert_eq!(found, compiled);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = "name='x'\nsummary=''\nwhy=''\nleave-out=''\nsurprise=1\n";
        assert!(toml::from_str::<Component>(text).is_err());
    }

    // `flatten` and `deny_unknown_fields` exclude each other in serde, so the inner tables are checked here.
    #[test]
    fn inner_tables_have_known_keys_only() {
        const KEYS: &[&str] = &[
            "feature",
            "why",
            "leave-out",
            "proof",
            "to",
            "public",
            "local",
            "target",
            "names",
            "in",
            "content",
            "package",
            "package-in",
            "from",
            "skip",
            "join",
            "static",
        ];
        for (file, text) in COMPONENT_FILES {
            let table: toml::Table = text.parse().unwrap();
            for value in table.values().filter_map(toml::Value::as_array) {
                for key in value.iter().filter_map(toml::Value::as_table).flat_map(toml::Table::keys) {
                    assert!(KEYS.contains(&key.as_str()), "components/{file}.toml: unknown key `{key}`");
                }
            }
        }
    }

    #[test]
    fn a_selection_adds_and_takes_away() {
        let spec = Spec::embedded().unwrap();
        let chosen = spec.select("default", &[], &list(&["cli", "xz"]), None).unwrap();
        assert!(!names(&chosen).contains(&"cli".to_owned()));
        let chosen = spec.select("minimal", &list(&["cli"]), &[], None).unwrap();
        assert!(names(&chosen).contains(&"cli".to_owned()));
        let only = spec.select("default", &[], &[], Some(&list(&["passt"]))).unwrap();
        assert_eq!(names(&only), ["passt"]);
    }

    #[test]
    fn mistakes_get_a_remedy() {
        let spec = Spec::embedded().unwrap();
        let error = spec.select("default", &list(&["iptable"]), &[], None).unwrap_err();
        assert_eq!(error.to_string(), "unknown component `iptable`");
        assert_eq!(error.hints(), ["did you mean `iptables`?"]);
        let error = spec.select("default", &list(&["q"]), &[], None).unwrap_err();
        assert!(error.hints()[0].starts_with("the components are: launcher, engine"));
        assert!(spec.select("defalt", &[], &[], None).unwrap_err().hints()[0].contains("default"));
        assert!(spec.select("default", &[], &list(&["engine"]), None).is_err());
        assert!(spec.select("default", &list(&["passt"]), &[], None).is_err());
        assert!(spec.select("default", &list(&["cli"]), &list(&["cli"]), None).is_err());
    }
}
