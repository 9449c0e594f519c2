//! What Docker requires, as data: `image/components/*.toml` and `image/profiles.toml`.

mod component;
mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

pub use component::{Component, FlagList, LauncherFile, Link, LinkSet, PackageFile, Reason, Text};
pub use error::SpecError;

use crate::digest::Digest;

/// The files of `image/`, compiled in so that an installed `from-scratch` is whole.
const COMPONENT_FILES: &[(&str, &str)] = &[
    ("launcher", include_str!("../../../image/components/launcher.toml")),
    ("engine", include_str!("../../../image/components/engine.toml")),
    ("cli", include_str!("../../../image/components/cli.toml")),
    ("buildx", include_str!("../../../image/components/buildx.toml")),
    ("compose", include_str!("../../../image/components/compose.toml")),
    ("iptables", include_str!("../../../image/components/iptables.toml")),
    ("ps", include_str!("../../../image/components/ps.toml")),
    ("xz", include_str!("../../../image/components/xz.toml")),
    ("git", include_str!("../../../image/components/git.toml")),
    ("ssh", include_str!("../../../image/components/ssh.toml")),
    ("nft", include_str!("../../../image/components/nft.toml")),
    ("pigz", include_str!("../../../image/components/pigz.toml")),
    ("fuse-overlayfs", include_str!("../../../image/components/fuse-overlayfs.toml")),
    ("shell", include_str!("../../../image/components/shell.toml")),
    ("crun", include_str!("../../../image/components/crun.toml")),
    ("ext4", include_str!("../../../image/components/ext4.toml")),
    ("ca-certificates", include_str!("../../../image/components/ca-certificates.toml")),
    ("etc", include_str!("../../../image/components/etc.toml")),
    ("flags", include_str!("../../../image/components/flags.toml")),
    ("passt", include_str!("../../../image/components/passt.toml")),
];

const PROFILES_FILE: &str = include_str!("../../../image/profiles.toml");

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

    /// The profile of this name.
    ///
    /// # Errors
    ///
    /// When there is none, with the nearest one.
    pub fn profile(&self, name: &str) -> Result<&Profile, SpecError> {
        let known = || self.profiles.keys().map(String::as_str);
        self.profiles.get(name).ok_or_else(|| unknown("profile", name, known()))
    }

    /// The component of that name.
    ///
    /// # Errors
    ///
    /// When there is none; the error names the nearest.
    pub fn component(&self, name: &str) -> Result<&Component, SpecError> {
        let in_images = self.components.iter().filter(|component| !component.host);
        let known = || in_images.clone().map(|component| component.name.as_str());
        self.components
            .iter()
            .find(|component| component.name == name)
            .ok_or_else(|| unknown("component", name, known()))
    }

    /// A component that may be added to a profile.
    pub(crate) fn added(&self, name: &str) -> Result<&Component, SpecError> {
        let component = self.component(name)?;
        if component.host { Err(SpecError::HostSide { name: name.to_owned() }) } else { Ok(component) }
    }

    /// A component that may be left out of a profile.
    pub(crate) fn left_out(&self, name: &str) -> Result<&Component, SpecError> {
        let component = self.component(name)?;
        if component.required {
            return Err(SpecError::Required { name: name.to_owned(), why: component.why.clone() });
        }
        Ok(component)
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
        let base = self.profile(profile)?;
        for name in with {
            self.added(name)?;
            if without.contains(name) {
                return Err(SpecError::Both { name: name.clone() });
            }
        }
        for name in without {
            self.left_out(name)?;
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
    use crate::error::Hints as _;

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
            "symptom",
            "untouched",
            "to",
            "public",
            "local",
            "target",
            "names",
            "in",
            "content",
            "of",
            "package",
            "package-in",
            "from",
            "skip",
            "join",
            "static",
            "cli-plugin",
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
    fn what_happens_without_a_file_is_claimed_of_each() {
        for component in Spec::embedded().unwrap().components.iter().filter(|component| !component.host) {
            let launchers = component.launchers.iter().map(|file| (&file.to, &file.reason));
            let files = component.files.iter().map(|file| (&file.to, &file.reason));
            let texts = component.texts.iter().map(|file| (&file.to, &file.reason));
            for (to, reason) in launchers.chain(files).chain(texts) {
                let symptom = reason.symptom.as_deref().unwrap_or_default();
                assert!(symptom.len() > 10, "{}: `{to}` has no symptom", component.name);
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
