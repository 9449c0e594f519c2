//! What an image holds, and what the data claims of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dockerlaunch_image::{
    BuildRequest, Class, Contents, Entry, INTERPRETER, PRIVATE_DIR, Silent, Source, contents,
};

use super::{Choice, Proof};
use crate::build;

/// An image, unpacked.
pub struct Inventory {
    /// Where it lies.
    pub root: PathBuf,
    /// The components that it has besides those of the default profile.
    pub components: String,
    /// What must be proved.
    pub files: Vec<Requirement>,
    /// What need not, by class.
    pub exempt: BTreeMap<&'static str, Vec<String>>,
}

/// A file, and what happens without it.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// Without the leading slash.
    pub path: String,
    /// The component that it belongs to.
    pub component: String,
    /// Package and version, where it comes from one.
    pub package: String,
    /// For a library: a file that cannot do without, whose proof it shares.
    pub through: Option<String>,
    /// Names of scenarios or tests, the first of which that runs under `up` is taken.
    pub proofs: Vec<String>,
    /// What its failure shows.
    pub symptom: Option<String>,
    /// Why no scenario touches it.
    pub untouched: Option<String>,
}

/// What is told where a program's interpreter is missing.
const NO_INTERPRETER: &str = "the file is there, but the loader or interpreter that it names is not";

/// The test that calls every program by each of its names.
const PUBLIC_NAMES: &str = "public_names::lead_to_programs";

impl Inventory {
    /// Builds the image and asks what is in it.
    pub fn build(components: &str) -> Result<Self> {
        let name =
            if components.is_empty() { "image".to_owned() } else { format!("image-with-{components}") };
        let root = build::output_with("prove", "dir", &name, components)?;
        let manifest = manifest(&root, components)?;
        let owned = manifest.entries.iter().filter(|entry| entry.origin.is_some());
        is_whole(&root, &owned.map(|entry| entry.path.clone()).collect())?;
        Ok(Self::of(root, components, &manifest))
    }

    /// What the default image holds.
    pub(super) fn usual(&self) -> Result<BTreeSet<String>> {
        Ok(manifest(&self.root, "")?.entries.into_iter().map(|entry| entry.path).collect())
    }

    fn of(root: PathBuf, components: &str, contents: &Contents) -> Self {
        let by_path: BTreeMap<&str, &Entry> =
            contents.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
        let mut files = Vec::new();
        let mut exempt: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for entry in &contents.entries {
            match exempt_class(entry) {
                None => files.push(requirement(entry, &by_path)),
                Some(class) => exempt.entry(class).or_default().push(entry.path.clone()),
            }
        }
        Inventory { root, components: components.to_owned(), files, exempt }
    }

    /// Those of its files that the command line asks for.
    pub fn chosen(&self, choice: &Choice) -> Vec<&Requirement> {
        self.files
            .iter()
            .enumerate()
            .filter(|(index, file)| choice.has(*index, self.files.len(), file, &self.components))
            .map(|(_, file)| file)
            .collect()
    }
}

impl Requirement {
    /// The name of what proves it.
    pub(super) fn proof(&self) -> String {
        let proof = self.proofs.iter().find_map(|name| Proof::called(name));
        proof.map_or_else(|| self.proofs.join(", "), |proof| proof.name().to_owned())
    }
}

/// What an image with these components holds, beside the launcher of this one.
fn manifest(root: &Path, components: &str) -> Result<Contents> {
    let launcher = root.join("usr/lib/dockerlaunch/bin/dockerlaunch");
    let launcher = fs::read(&launcher).with_context(|| format!("reading `{}`", launcher.display()))?;
    let mut request = BuildRequest::new(launcher);
    request.with = components.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    contents(&request, &Silent).context("asking what the image holds")
}

/// Whether these files and links lie there and no others, so that nothing else can be opened.
fn is_whole(root: &Path, owned: &BTreeSet<String>) -> Result<()> {
    let mut there = BTreeSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                there.insert(entry.path().strip_prefix(root)?.display().to_string());
            }
        }
    }
    let unlisted: Vec<_> = there.difference(owned).collect();
    ensure!(unlisted.is_empty(), "in the image, and no component has it: {unlisted:?}");
    let missing: Vec<_> = owned.difference(&there).collect();
    ensure!(missing.is_empty(), "in the manifest, and not in the image: {missing:?}");
    Ok(())
}

/// Of what needs no proof.
pub(super) fn exempt_class(entry: &Entry) -> Option<&'static str> {
    match entry.class {
        Class::File => None,
        Class::Link if symptom(entry).is_some() => None,
        Class::Link => Some("link"),
        Class::Metadata => Some("metadata"),
        Class::Licence => Some("licence"),
    }
}

pub(super) fn requirement(entry: &Entry, by_path: &BTreeMap<&str, &Entry>) -> Requirement {
    let owner = owner(entry, by_path);
    let reason = owner.and_then(|owner| owner.origin.as_ref()?.reason.as_ref());
    let is_library = owner.is_some_and(|owner| owner.path != entry.path);
    // Names outside the private directory are for people and scripts: their programs stand for themselves.
    let is_public_name = entry.class == Class::Link && !entry.path.starts_with(PRIVATE_DIR);
    // `up` starts an image by it.
    let symptom = if entry.path == "usr/bin/dockerlaunch" {
        Some("is no image that can be started".to_owned())
    } else if is_public_name {
        Some(format!("cannot start `/{}`", entry.path))
    } else if !is_library {
        symptom(entry)
    } else if entry.path == INTERPRETER.trim_start_matches('/') {
        Some(NO_INTERPRETER.to_owned())
    } else {
        Some(format!("error while loading shared libraries: {}", file_name(&entry.path)))
    };
    let proofs = match reason {
        _ if is_public_name => vec![PUBLIC_NAMES.to_owned()],
        Some(reason) => reason.proof.split(", ").map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let origin = entry.origin.as_ref();
    Requirement {
        path: entry.path.clone(),
        component: origin.map(|origin| origin.component.clone()).unwrap_or_default(),
        package: origin.map(|origin| package(&origin.source)).unwrap_or_default(),
        through: owner.filter(|_| is_library).map(|owner| owner.path.clone()),
        proofs,
        symptom,
        untouched: reason.filter(|_| !is_library).and_then(|reason| reason.untouched.clone()),
    }
}

/// The file with a reason that this one is there for: itself, or one that needs it. Of several the engine's: without a library
/// of its own no engine starts, which is soon told.
fn owner<'a>(entry: &'a Entry, by_path: &BTreeMap<&str, &'a Entry>) -> Option<&'a Entry> {
    let has_reason = |entry: &Entry| entry.origin.as_ref().is_some_and(|origin| origin.reason.is_some());
    let mut seen = BTreeSet::new();
    let mut waiting = vec![entry];
    let mut owners = Vec::new();
    while let Some(next) = waiting.pop() {
        if !seen.insert(&next.path) {
            continue;
        }
        if has_reason(next) {
            owners.push(next);
        } else {
            let needed_by = next.origin.iter().flat_map(|origin| &origin.needed_by);
            waiting.extend(needed_by.filter_map(|path| by_path.get(path.as_str())));
        }
    }
    let is_engines = |entry: &Entry| entry.origin.as_ref().is_some_and(|origin| origin.component == "engine");
    owners.into_iter().min_by_key(|owner| (!is_engines(owner), &owner.path))
}

/// What the data says, for this file of those that one entry names.
fn symptom(entry: &Entry) -> Option<String> {
    let symptom = entry.origin.as_ref()?.reason.as_ref()?.symptom.as_ref()?;
    let name = file_name(&entry.path);
    let extension = name.split_once('_').map_or(name, |(_, rest)| rest).trim_end_matches(".so");
    Some(symptom.replace("{name}", name).replace("{extension}", extension))
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn package(source: &Source) -> String {
    match source {
        Source::Package { name, version, .. } => format!("{name} {version}"),
        Source::Launcher => "ours".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_holds_what_its_manifest_names_and_nothing_else() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("bin")).expect("made");
        fs::write(root.path().join("bin/tool"), "").expect("written");
        std::os::unix::fs::symlink("nowhere", root.path().join("link")).expect("linked");
        let told = |owned: &[&str]| {
            let owned = owned.iter().map(|path| (*path).to_owned()).collect();
            is_whole(root.path(), &owned).map_err(|error| error.to_string())
        };
        assert_eq!(told(&["bin/tool", "link"]), Ok(()));
        let unlisted = told(&["bin/tool"]).expect_err("a link that nobody has");
        assert!(unlisted.contains("no component has it: [\"link\"]"), "{unlisted}");
        let missing = told(&["bin/tool", "bin/other", "link"]).expect_err("a file that is not there");
        assert!(missing.contains("not in the image: [\"bin/other\"]"), "{missing}");
    }
}
