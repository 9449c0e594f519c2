//! The tables of `image/components/*.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Lists of the flags that a program takes.
    #[serde(default, rename = "flags")]
    pub flag_lists: Vec<FlagList>,
}

/// Why a file is in the image. The requirements table, `explain` and the proof tests are made from it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reason {
    /// What a user does with it.
    pub feature: String,
    /// Why it must be there.
    pub why: String,
    /// Whether and how it can be left out.
    pub leave_out: String,
    /// The scenario or test that fails without it; several, with commas between, where not each runs everywhere.
    pub proof: String,
    /// What that failure shows; `{name}` stands for the name of the file, `{extension}` for that of an extension of iptables.
    /// Links without one are names for people, which are not proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symptom: Option<String>,
    /// Why no scenario opens it, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untouched: Option<String>,
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
    /// The file names to take of those that the glob finds; each must be there. None: all.
    #[serde(default)]
    pub names: Vec<String>,
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
    /// A plugin of the docker command: it also has its name where that looks for plugins.
    #[serde(default)]
    pub cli_plugin: bool,
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

/// The list of flags that a program of the image takes, which the program itself tells.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FlagList {
    /// Place under the private directory.
    pub to: String,
    /// The program, under the private directory.
    pub of: String,
    /// Why it is there.
    #[serde(flatten)]
    pub reason: Reason,
}
