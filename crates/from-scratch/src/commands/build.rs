//! `from-scratch build`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use dockerlaunch_image::{
    Arch, BuildError, BuildRequest, Compression, Digest, Engine, ImageName, LOCK_FILE, Lock, Output, Preload,
    SPEC_FILE, SpecFile, WrittenOutput,
};

use crate::launcher::{self, LauncherFile};
use crate::progress::BuildProgress;
use crate::report::Hinted;

/// Options of `build`; `up` takes those of `SourceArgs` too.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// How layers and the initramfs are compressed: none, gzip:1-9 or zstd:1-22
    #[arg(long, value_name = "KIND:LEVEL", default_value_t = Compression::default())]
    compression: Compression,
    /// Name that the image carries in oci: and docker: outputs
    #[arg(long, value_name = "NAME[:TAG]", default_value_t = ImageName::default())]
    tag: ImageName,
    /// What to write: oci:DIR, docker:FILE, tar:FILE, initramfs:FILE, dir:DIR or sbom:FILE; repeatable
    #[arg(short, long, value_name = "KIND:PATH", required = true)]
    output: Vec<Output>,
    /// Print a report for programs instead of one line an output
    #[arg(long)]
    json: bool,
}

/// What goes into the image, and where it comes from: shared by `build` and `up`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// File that says what the image is made of, where these options do not (default: from-scratch.toml, if it is here)
    #[arg(long, visible_alias = "config", value_name = "FILE", help_heading = "Image")]
    file: Option<PathBuf>,
    /// Distribution suite that the packages come from (default: forky)
    #[arg(long, help_heading = "Image")]
    suite: Option<String>,
    /// Set of components, such as minimal or default (default: default)
    #[arg(long, help_heading = "Image")]
    profile: Option<String>,
    /// Components to add to the profile
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',', help_heading = "Image")]
    with: Vec<String>,
    /// Components to leave out of the profile
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',', help_heading = "Image")]
    without: Vec<String>,
    /// Archive of images (`docker save`, or a tar of an OCI layout) that Docker has from its first start on; repeatable
    #[arg(long, value_name = "IMAGE.tar", help_heading = "Image")]
    preload: Vec<PathBuf>,
    /// Architecture: amd64, arm64, armhf or riscv64 (default: this machine's); for oci: several, with commas
    #[arg(long, value_name = "ARCH", value_delimiter = ',', help_heading = "Image")]
    arch: Vec<Arch>,
    /// Static launcher to put into the image, in place of the embedded one; repeatable, one an architecture
    #[arg(long, value_name = "[ARCH=]FILE", help_heading = "Image")]
    launcher: Vec<LauncherFile>,
    /// Engine and client from a static tarball (the layout of Docker's docker-VERSION.tgz) in place of the packages'
    #[arg(
        long,
        visible_alias = "upstream",
        value_name = "FILE|URL",
        value_parser = parse_engine,
        requires = "engine_sha256",
        help_heading = "Packages"
    )]
    engine: Option<String>,
    /// Digest that the tarball must have
    #[arg(
        long,
        visible_alias = "sha256",
        value_name = "HEX",
        requires = "engine",
        help_heading = "Packages"
    )]
    engine_sha256: Option<Digest>,
    /// Use exactly the packages that `from-scratch lock` wrote down (default: image.lock)
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = LOCK_FILE, help_heading = "Packages")]
    locked: Option<PathBuf>,
    /// Debian mirror (default: the ones that apt is configured with)
    #[arg(long, value_name = "URL", value_parser = parse_mirror, help_heading = "Packages")]
    mirror: Option<String>,
    /// Mirror of the security archive (default: apt's, or URL-security)
    #[arg(long, value_name = "URL", value_parser = parse_mirror, help_heading = "Packages")]
    security_mirror: Option<String>,
    /// OpenPGP keys to trust (default: the distribution's keyring on this machine)
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    keyring: Option<PathBuf>,
    /// Accept a package index whose Valid-Until has passed, with a warning
    #[arg(long, help_heading = "Packages")]
    allow_expired: bool,
    /// Use only what earlier builds have fetched
    #[arg(long, help_heading = "Packages")]
    offline: bool,
    /// Where downloads are kept (default: $XDG_CACHE_HOME/from-scratch or ~/.cache/from-scratch)
    #[arg(long, value_name = "DIR", help_heading = "Packages")]
    cache_dir: Option<PathBuf>,
}

impl SourceArgs {
    /// The request that these options make, without outputs, where there can be but one.
    pub(crate) fn request(&self) -> anyhow::Result<BuildRequest> {
        let mut requests = self.requests()?;
        match (requests.pop(), requests.is_empty()) {
            (Some(request), true) => Ok(request),
            _ => Err(Hinted::new("several architectures make several images")
                .hint("give `--arch` one; `build -o oci:DIR` takes several")
                .into()),
        }
    }

    /// The requests that these options make, without outputs: one an architecture.
    pub(crate) fn requests(&self) -> anyhow::Result<Vec<BuildRequest>> {
        let file = self.spec_file()?;
        let lock = self.locked.as_deref().map(read_lock).transpose()?;
        let suite =
            self.suite.clone().or(file.suite).or_else(|| lock.as_ref().map(|lock| lock.suite.clone()));
        let preload = preload(&self.preload)?;
        let mut archs = if self.arch.is_empty() { vec![Arch::HOST] } else { self.arch.clone() };
        archs.sort();
        archs.dedup();
        let request = |arch: Arch| -> anyhow::Result<BuildRequest> {
            let defaults = BuildRequest::new(launcher::load(&self.launcher, arch)?);
            Ok(BuildRequest {
                suite: suite.clone().unwrap_or(defaults.suite),
                arch,
                profile: self.profile.clone().or_else(|| file.profile.clone()).unwrap_or(defaults.profile),
                with: joined(&file.with, &self.without, &self.with),
                without: joined(&file.without, &self.with, &self.without),
                lock: lock.clone(),
                engine: self.engine(),
                mirror: self.mirror.clone(),
                security_mirror: self.security_mirror.clone(),
                keyring: self.keyring.clone(),
                allow_expired: self.allow_expired,
                offline: self.offline,
                cache_dir: self.cache_dir.clone(),
                epoch: source_date_epoch()?,
                preload: preload.clone(),
                extra: file.files.clone(),
                env: file.env.clone(),
                labels: file.labels.clone(),
                ..defaults
            })
        };
        archs.into_iter().map(request).collect()
    }

    fn engine(&self) -> Option<Engine> {
        let location = self.engine.clone()?;
        self.engine_sha256.map(|digest| Engine { location, digest })
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.locked.is_some()
    }

    fn spec_file(&self) -> anyhow::Result<SpecFile> {
        match &self.file {
            Some(path) => Ok(SpecFile::read(path)?),
            None if Path::new(SPEC_FILE).symlink_metadata().is_ok() => {
                let file = SpecFile::read(Path::new(SPEC_FILE))?;
                eprintln!("image    as `{SPEC_FILE}` of this directory says");
                Ok(file)
            }
            None => Ok(SpecFile::default()),
        }
    }
}

fn read_lock(path: &Path) -> anyhow::Result<Lock> {
    if path.symlink_metadata().is_ok() {
        return Ok(Lock::read(path)?);
    }
    Err(Hinted::new(format!("there is no lockfile `{}`", path.display()))
        .hint("make one with `from-scratch lock` and the options of the build")
        .hint("`--locked FILE` takes one of another name")
        .into())
}

/// The components of a spec file but those that the command line says the opposite of, and the command line's.
fn joined(file: &[String], opposite: &[String], line: &[String]) -> Vec<String> {
    file.iter().filter(|name| !opposite.contains(name)).chain(line).cloned().collect()
}

/// Reads them all before anything is built for nothing.
fn preload(paths: &[PathBuf]) -> anyhow::Result<Vec<Preload>> {
    let mut all: Vec<Preload> = Vec::new();
    for path in paths {
        let refused = Hinted::new(format!("cannot preload `{}`", path.display()));
        let preload = match Preload::read(path) {
            Ok(preload) => preload,
            Err(error) => {
                return Err(refused
                    .because(error)
                    .hint("make a plain tar of images: `docker save -o IMAGE.tar IMAGE`")
                    .into());
            }
        };
        if all.iter().any(|other| other.name == preload.name) {
            let refused = refused.because("another archive has the same name");
            return Err(refused
                .hint("save several images into one: `docker save -o IMAGES.tar ONE TWO`")
                .into());
        }
        all.push(preload);
    }
    Ok(all)
}

fn parse_mirror(text: &str) -> Result<String, String> {
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(text.to_owned()),
        _ => Err("a mirror is an address such as http://mirror.example/debian".to_owned()),
    }
}

fn parse_engine(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some((scheme, _)) if !["http", "https"].contains(&scheme) => Err(format!(
            "`{scheme}` is not supported: give a path, or an address that begins with http:// or https://"
        )),
        _ => Ok(text.to_owned()),
    }
}

/// The time stamp that reproducible builds agree on, by its usual name; without it, 1970.
fn source_date_epoch() -> anyhow::Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => {
            text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`, not a number of seconds"))
        }
        _ => Ok(0),
    }
}

pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let request = |request| BuildRequest {
        compression: args.compression,
        tag: args.tag.clone(),
        outputs: args.output.clone(),
        ..request
    };
    let requests: Vec<BuildRequest> = args.source.requests()?.into_iter().map(request).collect();
    let progress = BuildProgress::new()?;
    let built = match requests.as_slice() {
        [request] => dockerlaunch_image::build(request, &progress).map(|report| {
            let text = args.json.then(|| serde_json::to_string_pretty(&report));
            (text, report.outputs)
        }),
        several => dockerlaunch_image::build_index(several, &progress).map(|report| {
            let text = args.json.then(|| serde_json::to_string_pretty(&report));
            (text, report.outputs)
        }),
    };
    let (json, outputs) = match built {
        Err(error @ BuildError::Cancelled) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(progress.exit_status()));
        }
        result => result?,
    };
    write_report(&outputs, json.transpose()?, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what a program may read. Unlike what people are told, it must not get lost.
fn write_report(outputs: &[WrittenOutput], json: Option<String>, to: &mut dyn Write) -> anyhow::Result<()> {
    let line = |output: &WrittenOutput| format!("{} {} {}\n", output.digest, output.size, output.output);
    let text = json.map_or_else(|| outputs.iter().map(line).collect(), |json| json + "\n");
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(|error| {
        Hinted::new("cannot write the report to standard output")
            .because(error)
            .hint("the outputs themselves are complete; for the report, run the same command again with its output going elsewhere")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;

    fn an_output() -> WrittenOutput {
        WrittenOutput { output: "tar:x".to_owned(), digest: Digest::of(b"x"), size: 1 }
    }

    #[test]
    fn the_command_line_wins_over_the_spec_file() {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(joined(&list("a b"), &list("b"), &list("c")), ["a", "c"]);
        assert_eq!(joined(&[], &list("b"), &list("c")), ["c"]);
    }

    #[test]
    fn a_mirror_is_an_address() {
        assert!(parse_mirror("http://mirror.example/debian").is_ok());
        for wrong in ["mirror.example/debian", "ftp://mirror.example", "https://", "http:///debian", ""] {
            assert!(parse_mirror(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_engine_is_a_path_or_an_address() {
        for right in ["docker.tgz", "./a/b", "http://x/y.tgz", "https://x/y.tgz"] {
            assert_eq!(parse_engine(right).unwrap(), right);
        }
        assert!(parse_engine("ftp://x/y.tgz").unwrap_err().contains("`ftp` is not supported"));
    }

    #[test]
    fn a_missing_lockfile_has_a_remedy() {
        let told = report::render(&read_lock(Path::new("/nowhere/image.lock")).unwrap_err());
        assert!(told.contains("`from-scratch lock`"), "{told}");
    }

    #[test]
    fn a_report_is_a_line_an_output_or_json() {
        let written = |json: Option<&str>| {
            let mut text = Vec::new();
            write_report(&[an_output()], json.map(str::to_owned), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(written(None), format!("{} 1 tar:x\n", Digest::of(b"x")));
        assert_eq!(written(Some("{}")), "{}\n");
    }

    #[test]
    fn a_report_that_cannot_be_written_is_an_error() {
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        for (to, why) in [(&mut { pipe } as &mut dyn Write, "Broken pipe"), (&mut { full }, "No space left")]
        {
            for json in [None, Some("{}".to_owned())] {
                let told = report::render(&write_report(&[an_output()], json, to).unwrap_err());
                assert!(told.contains("standard output") && told.contains(why), "{told}");
                assert!(told.contains("hint: the outputs themselves are complete"), "{told}");
            }
        }
    }
}
