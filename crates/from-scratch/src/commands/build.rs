//! `from-scratch build`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use dockerlaunch_image::{
    Arch, BuildError, BuildReport, BuildRequest, Compression, ImageName, Output, Preload,
};

use crate::launcher;
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
    /// Distribution suite that the packages come from
    #[arg(long, default_value = "forky", help_heading = "Image")]
    pub(crate) suite: String,
    /// Set of components: minimal or default
    #[arg(long, default_value = "default", help_heading = "Image")]
    profile: String,
    /// Components to add to the profile
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',', help_heading = "Image")]
    with: Vec<String>,
    /// Components to leave out of the profile
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',', help_heading = "Image")]
    without: Vec<String>,
    /// Archive of images (`docker save`, or a tar of an OCI layout) that Docker has from its first start on; repeatable
    #[arg(long, value_name = "IMAGE.tar", help_heading = "Image")]
    preload: Vec<PathBuf>,
    /// Architecture: amd64 or arm64 (default: this machine's)
    #[arg(long, help_heading = "Image")]
    arch: Option<Arch>,
    /// Static launcher to put into the image, in place of the embedded one
    #[arg(long, value_name = "FILE", help_heading = "Image")]
    launcher: Option<PathBuf>,
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
    /// The request that these options make, without outputs.
    pub(crate) fn request(&self) -> anyhow::Result<BuildRequest> {
        let defaults = BuildRequest::new(launcher::load(self.launcher.as_deref())?);
        Ok(BuildRequest {
            suite: self.suite.clone(),
            arch: self.arch.unwrap_or(Arch::HOST),
            profile: self.profile.clone(),
            with: self.with.clone(),
            without: self.without.clone(),
            mirror: self.mirror.clone(),
            security_mirror: self.security_mirror.clone(),
            keyring: self.keyring.clone(),
            allow_expired: self.allow_expired,
            offline: self.offline,
            cache_dir: self.cache_dir.clone(),
            epoch: source_date_epoch()?,
            preload: preload(&self.preload)?,
            ..defaults
        })
    }
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
    let request = BuildRequest {
        compression: args.compression,
        tag: args.tag.clone(),
        outputs: args.output.clone(),
        ..args.source.request()?
    };
    let progress = BuildProgress::new()?;
    let report = match dockerlaunch_image::build(&request, &progress) {
        Err(error @ BuildError::Cancelled) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(progress.exit_status()));
        }
        result => result?,
    };
    write_report(&report, args.json, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what a program may read. Unlike what people are told, it must not get lost.
fn write_report(report: &BuildReport, json: bool, to: &mut dyn Write) -> anyhow::Result<()> {
    let mut text = String::new();
    if json {
        text = serde_json::to_string_pretty(report)? + "\n";
    } else {
        for output in &report.outputs {
            text += &format!("{} {} {}\n", output.digest, output.size, output.output);
        }
    }
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(|error| {
        Hinted::new("cannot write the report to standard output")
            .because(error)
            .hint("the outputs themselves are complete; for the report, run the same command again with its output going elsewhere")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dockerlaunch_image::{Digest, ImageConfig, WrittenOutput};

    use super::*;
    use crate::report;

    fn a_report() -> BuildReport {
        BuildReport {
            suite: "forky".to_owned(),
            components: vec![],
            tree_digest: Digest::of(b""),
            tree_size: 0,
            packages: vec![],
            outputs: vec![WrittenOutput { output: "tar:x".to_owned(), digest: Digest::of(b"x"), size: 1 }],
            config: ImageConfig::new(BTreeMap::new()),
            warnings: vec![],
        }
    }

    #[test]
    fn a_mirror_is_an_address() {
        assert!(parse_mirror("http://mirror.example/debian").is_ok());
        for wrong in ["mirror.example/debian", "ftp://mirror.example", "https://", "http:///debian", ""] {
            assert!(parse_mirror(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_is_a_line_an_output_or_json() {
        let written = |json| {
            let mut text = Vec::new();
            write_report(&a_report(), json, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(written(false), format!("{} 1 tar:x\n", Digest::of(b"x")));
        let json: serde_json::Value = serde_json::from_str(&written(true)).unwrap();
        assert_eq!(json["outputs"][0]["output"], "tar:x");
    }

    #[test]
    fn a_report_that_cannot_be_written_is_an_error() {
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        for (to, why) in [(&mut { pipe } as &mut dyn Write, "Broken pipe"), (&mut { full }, "No space left")]
        {
            for json in [false, true] {
                let told = report::render(&write_report(&a_report(), json, to).unwrap_err());
                assert!(told.contains("standard output") && told.contains(why), "{told}");
                assert!(told.contains("hint: the outputs themselves are complete"), "{told}");
            }
        }
    }
}
