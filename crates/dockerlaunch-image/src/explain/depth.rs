//! One file or component in depth.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::users::{by_path, chains, saved_without};
use super::{component, share, short, size, summary};
use crate::contents::{Contents, Entry};
use crate::deb::normalise;
use crate::error::Hints;
use crate::origin::{DESCRIPTION, EXTRA, LIBRARIES, LICENCE, PRELOAD, Source};
use crate::spec::{Spec, nearest};

/// All that is known of what a user asked about.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Depth<'a> {
    /// A component.
    Component(ComponentDepth<'a>),
    /// Files; several when they share the name.
    Files(Vec<FileDepth<'a>>),
}

/// All that is known of a component.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ComponentDepth<'a> {
    name: &'a str,
    summary: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leave_out: Option<&'a str>,
    size: u64,
    /// Per cent of the image.
    share: f64,
    /// Its own size, and that of libraries that nothing else needs.
    saved_without: u64,
    entries: Vec<&'a Entry>,
}

/// All that is known of a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileDepth<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    /// Per cent of the image.
    share: f64,
    /// Links that lead to it.
    names: Vec<&'a str>,
    /// Libraries that it names itself.
    needs: Vec<&'a str>,
    /// For a library: by component, the way from a program of that to it.
    chains: BTreeMap<&'a str, Vec<&'a str>>,
}

/// An image has nothing of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image has no file and no component `{name}`")]
pub struct Unknown {
    name: String,
    hints: Vec<String>,
}

impl Hints for Unknown {
    fn hints(&self) -> Vec<String> {
        self.hints.clone()
    }
}

/// Looks up a component, a path, or the last part of one.
///
/// # Errors
///
/// When the image has nothing of that name; the error names the nearest, or how to get it.
pub fn depth<'a>(contents: &'a Contents, name: &'a str) -> Result<Depth<'a>, Unknown> {
    let entries: Vec<&Entry> = contents.entries.iter().filter(|entry| component(entry) == name).collect();
    if !entries.is_empty() {
        return Ok(Depth::Component(of_component(contents, name, entries)));
    }
    let wanted = name.trim_start_matches('/');
    let ends =
        |path: &str| path.strip_suffix(wanted).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let by_path = by_path(contents);
    let mut found: Vec<&Entry> = Vec::new();
    for entry in contents.entries.iter().filter(|entry| !wanted.is_empty() && ends(&entry.path)) {
        // A link with a file's own reason is but another name of it.
        let target = followed(&by_path, entry);
        let reason = |entry: &Entry| entry.origin.as_ref().map(|origin| origin.reason.clone());
        let entry = if reason(target) == reason(entry) { target } else { entry };
        if !found.iter().any(|other| other.path == entry.path) {
            found.push(entry);
        }
    }
    if found.is_empty() {
        return Err(unknown(contents, name));
    }
    Ok(Depth::Files(found.into_iter().map(|entry| of_file(contents, &by_path, entry)).collect()))
}

fn of_component<'a>(contents: &'a Contents, name: &'a str, entries: Vec<&'a Entry>) -> ComponentDepth<'a> {
    let component = Spec::embedded().ok().and_then(|spec| spec.component(name).ok());
    let size = entries.iter().map(|entry| entry.size).sum();
    ComponentDepth {
        name,
        summary: summary(name),
        why: component.map(|component| component.why.as_str()),
        leave_out: component.map(|component| component.leave_out.as_str()),
        size,
        share: share(size, contents),
        saved_without: saved_without(contents, name),
        entries,
    }
}

fn of_file<'a>(
    contents: &'a Contents,
    by_path: &BTreeMap<&'a str, &'a Entry>,
    entry: &'a Entry,
) -> FileDepth<'a> {
    let path = entry.path.as_str();
    let other = |other: &&Entry| other.path != path;
    let leads_here = |other: &&Entry| followed(by_path, other).path == path;
    let needed_here = |other: &&Entry| {
        other.origin.as_ref().is_some_and(|origin| origin.needed_by.iter().any(|by| by == path))
    };
    let paths = |of: &dyn Fn(&&Entry) -> bool| {
        contents.entries.iter().filter(other).filter(of).map(|entry| entry.path.as_str()).collect()
    };
    let is_library = component(entry) == LIBRARIES;
    FileDepth {
        entry,
        share: share(entry.size, contents),
        names: paths(&leads_here),
        needs: paths(&needed_here),
        chains: if is_library { chains(contents, path) } else { BTreeMap::new() },
    }
}

/// Where a link leads in the end.
fn followed<'a>(by_path: &BTreeMap<&'a str, &'a Entry>, entry: &'a Entry) -> &'a Entry {
    let mut entry = entry;
    for _ in 0..40 {
        let Some(target) = &entry.target else { break };
        let directory = entry.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let target = if target.starts_with('/') { target.clone() } else { format!("{directory}/{target}") };
        let Some(next) = by_path.get(normalise(&target).as_str()) else { break };
        entry = next;
    }
    entry
}

fn unknown(contents: &Contents, name: &str) -> Unknown {
    let spec = Spec::embedded().ok();
    let optional = spec.and_then(|spec| spec.component(name).ok()).filter(|component| !component.host);
    let hints = if let Some(component) = optional {
        vec![format!(
            "`{name}` is a component that this image is without: explain one `--with {}`",
            component.name
        )]
    } else {
        let names = contents.entries.iter().flat_map(|entry| {
            let path = short(&entry.path);
            [path, path.rsplit('/').next().unwrap_or(path), component(entry)]
        });
        match nearest(name, names) {
            Some(nearest) => vec![format!("did you mean `{nearest}`?")],
            None => vec!["see all of them: leave the name out".to_owned()],
        }
    };
    Unknown { name: name.to_owned(), hints }
}

impl fmt::Display for Depth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(component) => component.fmt(f),
            Self::Files(files) => {
                for (number, file) in files.iter().enumerate() {
                    if number > 0 {
                        writeln!(f)?;
                    }
                    file.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

/// A line with its heading.
fn line(f: &mut fmt::Formatter<'_>, heading: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {heading:<11} {text}")
}

impl fmt::Display for ComponentDepth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.summary)?;
        if let Some(why) = self.why {
            line(f, "why", why)?;
        }
        if let Some(leave_out) = self.leave_out {
            line(f, "leave out", leave_out)?;
        }
        let rest = self.saved_without - self.size;
        let with = if rest > 0 {
            format!(", and {} of libraries that nothing else needs", size(rest))
        } else {
            String::new()
        };
        line(f, "size", &format!("{}, {:.1} % of the image{with}", size(self.size), self.share))?;
        for entry in &self.entries {
            let what = match &entry.target {
                Some(target) => format!("-> {target}"),
                None => size(entry.size),
            };
            writeln!(f, "  {:<44} {what}", format!("/{}", entry.path))?;
        }
        Ok(())
    }
}

impl fmt::Display for FileDepth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.entry;
        writeln!(f, "/{}", entry.path)?;
        match (&entry.target, &entry.digest) {
            (Some(target), _) => line(f, "link to", target)?,
            (None, digest) => {
                let digest = digest.as_ref().map(|digest| format!(", {digest}")).unwrap_or_default();
                line(f, "size", &format!("{}, {:.2} % of the image{digest}", size(entry.size), self.share))?;
            }
        }
        if let Some(origin) = &entry.origin {
            line(f, "component", &format!("{}: {}", origin.component, summary(&origin.component)))?;
            line(f, "from", &from(&origin.source))?;
            if let Source::Package { digest, paths, .. } = &origin.source {
                let paths: Vec<String> = paths.iter().map(|path| format!("/{path}")).collect();
                let more = paths.len().saturating_sub(3);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let shown = paths.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
                line(f, "", &format!("package {digest}, {shown}{more}"))?;
            }
            if let Some(reason) = &origin.reason {
                line(f, "feature", &reason.feature)?;
                line(f, "why", &reason.why)?;
                line(f, "without it", &reason.leave_out)?;
                line(f, "proof", &reason.proof)?;
            } else {
                line(f, "why", without_reason(&origin.component))?;
            }
        }
        list(f, "also called", &self.names)?;
        list(f, "needs", &self.needs)?;
        for (component, chain) in &self.chains {
            let chain: Vec<&str> = chain.iter().map(|path| short(path)).collect();
            line(f, "needed by", &format!("{component}: {}", chain.join(" → ")))?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, heading: &str, paths: &[&str]) -> fmt::Result {
    if paths.is_empty() {
        return Ok(());
    }
    let short: Vec<&str> = paths.iter().map(|path| short(path)).collect();
    line(f, heading, &short.join(", "))
}

fn from(source: &Source) -> String {
    match source {
        Source::Launcher => "this project: the launcher".to_owned(),
        Source::Package { name, version, .. } => format!("{name} {version}"),
        Source::Component => "this project: it stands in the component".to_owned(),
        Source::Program { of } => format!("what {of} said of itself when the image was built"),
        Source::Build => "the build".to_owned(),
        Source::Upstream { digest, path } => format!("/{path} of the tarball {digest}"),
        Source::User => "you".to_owned(),
    }
}

fn without_reason(component: &str) -> &'static str {
    match component {
        LIBRARIES => "the programs below do not start without it",
        DESCRIPTION => "so that one can find out what is in an image; nothing needs it to run",
        LICENCE => "most licences ask for their text beside the files; nothing needs it to run",
        EXTRA => "you wanted it there",
        PRELOAD => "Docker has these images from its first start on",
        _ => "nobody knows: please report it",
    }
}
