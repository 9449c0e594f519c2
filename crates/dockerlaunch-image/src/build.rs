//! One build from beginning to end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::cache::Cache;
use crate::config::{ImageConfig, SUITE_LABEL};
use crate::contents::{self, Contents};
use crate::digest::Digest;
use crate::emit::{self, EmitError, Emitter};
use crate::error::BuildError;
use crate::fetch::{FetchError, Fetcher};
use crate::lint;
use crate::progress::{Event, Progress};
use crate::recipe::{self, Kitchen, Trees};
use crate::request::{BuildRequest, Output};
use crate::resolve::Resolver;
use crate::source::{Archive, SourceError};
use crate::spec::{Component, Spec};
use crate::tree::Tree;
use crate::upstream::COMPONENTS;

/// What a build has made.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// Codename of the suite.
    pub suite: String,
    /// Names of the components.
    pub components: Vec<String>,
    /// Digest of the container image's tree: equal digests, equal images.
    pub tree_digest: Digest,
    /// Bytes of all files in it.
    pub tree_size: u64,
    /// The packages that files were taken from, by name.
    pub packages: Vec<PackageRecord>,
    /// What was written, in the order of the request.
    pub outputs: Vec<WrittenOutput>,
    /// How the image is run.
    pub config: ImageConfig,
    /// What the user was told besides.
    pub warnings: Vec<String>,
}

/// A package that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture it is for, or `all`.
    pub architecture: String,
    /// Path of its file below an archive's base.
    pub path: String,
    /// Size of its file.
    pub size: u64,
    /// Digest of its file.
    pub digest: Digest,
}

/// An output that was written.
#[derive(Debug, Clone, Serialize)]
pub struct WrittenOutput {
    /// `KIND:PATH`.
    pub output: String,
    /// What names it: the manifest's digest for `oci:`, the tree's for `dir:`, else the file's.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What every image says about itself, in its private directory. No paths, dates or hosts of the build: they would
/// make two builds differ.
#[derive(Serialize)]
struct Description<'a> {
    suite: &'a str,
    architecture: &'a str,
    components: &'a [&'a str],
    packages: &'a [PackageRecord],
    /// Digest of the tarball that the engine was taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<Digest>,
}

/// Builds an image and writes the outputs that the request names.
///
/// # Errors
///
/// See [`BuildError`]. An output is written whole or not at all.
pub fn build(request: &BuildRequest, progress: &dyn Progress) -> Result<BuildReport, BuildError> {
    run(request, progress, Image::emit)
}

/// What a build for several architectures has made.
#[derive(Debug, Clone, Serialize)]
pub struct IndexReport {
    /// The images; what was written holds all of them.
    pub images: Vec<Contents>,
    /// What was written, in the order of the request.
    pub outputs: Vec<WrittenOutput>,
}

/// Builds one image an architecture, and writes the outputs that the first request names, each with all of them.
///
/// # Errors
///
/// See [`BuildError`]. Only an OCI layout can hold several images.
pub fn build_index(requests: &[BuildRequest], progress: &dyn Progress) -> Result<IndexReport, BuildError> {
    let mut report = IndexReport { images: Vec::new(), outputs: Vec::new() };
    let Some(first) = requests.first() else { return Ok(report) };
    if let Some(output) = first.outputs.iter().find(|output| !matches!(output, Output::Oci(_))) {
        return Err(EmitError::OneArchitecture { output: output.to_string() }.into());
    }
    let mut packed = Vec::new();
    for request in requests {
        let (contents, image) = run(request, progress, |image, request, cache, progress| {
            step(&format!("compressing the image for {}", request.arch.name()), progress)?;
            let Image { trees, config, contents, .. } = &image;
            let emitter = Emitter { request, trees, config, contents, cache, progress };
            Ok((contents.clone(), emitter.pack()?))
        })?;
        report.images.push(contents);
        packed.push(image);
    }
    let cache = open_cache(first)?;
    for output in &first.outputs {
        step(&format!("writing {output}"), progress)?;
        let written = emit::write_layout(output.path(), &packed, &first.tag, &cache)?;
        let (digest, size) = (written.digest, written.size);
        report.outputs.push(WrittenOutput { output: output.to_string(), digest, size });
    }
    Ok(report)
}

fn open_cache(request: &BuildRequest) -> Result<Cache, FetchError> {
    let root = request.cache_dir.clone().or_else(Cache::default_root).ok_or(FetchError::NoCacheDir)?;
    Cache::open(root.clone()).map_err(|source| FetchError::Cache { path: root, source })
}

/// Puts an image together and says what it holds, without writing any of the outputs that the request names.
///
/// # Errors
///
/// See [`BuildError`].
pub fn contents(request: &BuildRequest, progress: &dyn Progress) -> Result<Contents, BuildError> {
    run(request, progress, |image, _, _, _| Ok(image.contents))
}

/// An image that is ready to be written.
struct Image {
    trees: Trees,
    config: ImageConfig,
    contents: Contents,
    warnings: Vec<String>,
}

type Finish<T> = fn(Image, &BuildRequest, &Cache, &dyn Progress) -> Result<T, BuildError>;

fn run<T>(request: &BuildRequest, progress: &dyn Progress, finish: Finish<T>) -> Result<T, BuildError> {
    let whole = || {
        let components = Spec::embedded()?.select(
            &request.profile,
            &request.with,
            &request.without,
            request.only.as_deref(),
        )?;
        emit::check(request)?;
        let cache = open_cache(request)?;
        let image = put_together(request, &components, &cache, progress)?;
        finish(image, request, &cache, progress)
    };
    whole().map_err(|error| match error {
        BuildError::Fetch(FetchError::Cancelled)
        | BuildError::Source(SourceError::Fetch(FetchError::Cancelled))
        | BuildError::Emit(EmitError::Cancelled) => BuildError::Cancelled,
        error => error,
    })
}

fn step(text: &str, progress: &dyn Progress) -> Result<(), BuildError> {
    if progress.cancelled() {
        return Err(BuildError::Cancelled);
    }
    progress.event(Event::Step(text));
    Ok(())
}

fn put_together(
    request: &BuildRequest,
    components: &[&Component],
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Image, BuildError> {
    let names: Vec<&str> = components.iter().map(|component| component.name.as_str()).collect();
    let fetcher = Fetcher::new(cache, request.offline, request.patience, progress);

    let archive = match &request.lock {
        Some(lock) => {
            let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Archive::locked(request, lock, &owned)?
        }
        None => {
            step(&format!("reading the package index of {}", request.suite), progress)?;
            Archive::open(request, &fetcher, Timestamp::now())?
        }
    };
    for warning in &archive.warnings {
        progress.event(Event::Warning(warning));
    }

    step("fetching packages", progress)?;
    let programs = request.engine.as_ref().map(|engine| engine.open(&fetcher)).transpose()?;
    let mut resolver = Resolver::new(&archive, &fetcher, progress, recipe::patterns(components)?);
    resolver.open(&archive.locked_names())?;
    resolver.open(&packages_of(components, &archive.codename, programs.is_some()))?;

    step("putting the image together", progress)?;
    let describe = |tree: &Tree, resolver: &Resolver<'_>| {
        let packages = used(tree, records(resolver));
        let description = Description {
            suite: &archive.codename,
            architecture: request.arch.name(),
            components: &names,
            packages: &packages,
            engine: request.engine.as_ref().map(|engine| engine.digest),
        };
        let mut json = serde_json::to_vec_pretty(&description)?;
        json.push(b'\n');
        Ok(json)
    };
    let kitchen = Kitchen {
        components,
        codename: &archive.codename,
        arch: request.arch,
        launcher: &request.launcher,
        programs: programs.as_ref(),
        preload: &request.preload,
        extra: &request.extra,
        resolver: &mut resolver,
        progress,
    };
    let trees = recipe::cook(kitchen, &describe)?;
    let findings = lint::lint(&trees.container);
    if !findings.is_empty() {
        return Err(BuildError::Lint(findings));
    }
    let opened = records(&resolver);
    let packages = used(&trees.container, opened.clone());
    let labels = labels(&archive.codename, &packages);
    let mut config = ImageConfig::new(names.iter().copied(), labels);
    config.extend(&request.env, &request.labels);
    let contents = Contents {
        suite: archive.codename.clone(),
        architecture: request.arch.name(),
        components: names.into_iter().map(str::to_owned).collect(),
        packages,
        opened,
        engine: request.engine.as_ref().map(|engine| engine.digest),
        tree_digest: trees.container.digest(),
        entries: contents::entries(&trees.container),
    };
    Ok(Image { trees, config, contents, warnings: archive.warnings })
}

impl Image {
    /// Writes the outputs that the request names.
    fn emit(
        self,
        request: &BuildRequest,
        cache: &Cache,
        progress: &dyn Progress,
    ) -> Result<BuildReport, BuildError> {
        let Self { trees, config, contents, warnings } = self;
        let emitter =
            Emitter { request, trees: &trees, config: &config, contents: &contents, cache, progress };
        let mut outputs = Vec::new();
        for output in &request.outputs {
            step(&format!("writing {output}"), progress)?;
            let written = emitter.emit(output)?;
            outputs.push(WrittenOutput {
                output: output.to_string(),
                digest: written.digest,
                size: written.size,
            });
        }
        Ok(BuildReport {
            suite: contents.suite,
            components: contents.components,
            tree_digest: contents.tree_digest,
            tree_size: trees.container.size(),
            packages: contents.packages,
            outputs,
            config,
            warnings,
        })
    }
}

fn packages_of<'a>(components: &[&'a Component], codename: &str, upstream: bool) -> Vec<&'a str> {
    let packaged = |component: &&&Component| !(upstream && COMPONENTS.contains(&component.name.as_str()));
    components
        .iter()
        .filter(packaged)
        .flat_map(|component| &component.files)
        .map(|file| file.package_for(codename))
        .collect()
}

/// Those of the packages that something of a tree was taken from.
fn used(tree: &Tree, mut packages: Vec<PackageRecord>) -> Vec<PackageRecord> {
    let names = contents::packages(tree);
    packages.retain(|package| names.contains(package.name.as_str()));
    packages
}

fn records(resolver: &Resolver<'_>) -> Vec<PackageRecord> {
    resolver
        .iter()
        .map(|open| PackageRecord {
            name: open.package.name.clone(),
            version: open.package.version.to_string(),
            architecture: open.package.architecture.clone(),
            path: open.package.filename.clone(),
            size: open.package.size,
            digest: open.package.digest,
        })
        .collect()
}

fn labels(codename: &str, packages: &[PackageRecord]) -> BTreeMap<String, String> {
    let version =
        |name: &str| packages.iter().find(|package| package.name == name).map(|package| &package.version);
    let mut labels = BTreeMap::from([(SUITE_LABEL.to_owned(), codename.to_owned())]);
    if let Some(version) = version("docker.io") {
        labels.insert("org.opencontainers.image.version".to_owned(), version.clone());
    }
    let list: Vec<String> =
        packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    labels.insert("io.from-scratch.packages".to_owned(), list.join(" "));
    labels
}
