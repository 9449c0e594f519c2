//! Writing a tree: each output appears whole or not at all, and is bit for bit the same each time.

mod compress;
mod cpio;
mod dir;
mod docker;
mod layer;
mod oci;
mod parts;
mod places;
mod sbom;
mod staging;
mod tar;

pub(crate) use oci::write_layout;

use std::io;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::config::ImageConfig;
use crate::contents::Contents;
use crate::digest::Digest;
use crate::error::Hints;
use crate::file_content::{Changed, LEAVE_AS_IT_IS};
use crate::progress::{Progress, Stopped};
use crate::recipe::Trees;
use crate::request::{BuildRequest, Output};

/// An output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// Writing failed.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that this program did not write stands at the path.
    #[error("`{}` exists and {what}", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Two outputs of one build would get into each other's way.
    #[error(
        "`{one}` and `{other}` cannot both be written: they are one place, or one lies inside of the other"
    )]
    SamePlace {
        /// An output, as `KIND:PATH`.
        one: String,
        /// The other one.
        other: String,
    },
    /// An output that holds one image is to hold several.
    #[error("`{output}` holds the image of one architecture, and several were asked for")]
    OneArchitecture {
        /// The output, as `KIND:PATH`.
        output: String,
    },
    /// A file of the user's lies where the kernel looks for the launcher.
    #[error("`{output}` has the launcher as `/init`, where a file of yours is to be")]
    Init {
        /// The output, as `KIND:PATH`.
        output: String,
    },
    /// The configuration document cannot be made.
    #[error("cannot describe the image")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file of the user's is not as it was.
    #[error(transparent)]
    Changed(Box<dyn std::error::Error + Send + Sync>),
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
}

impl Hints for EmitError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Write { path, source } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    vec!["free some space (an image takes about 230 MB), or write to another disk".to_owned()]
                }
                io::ErrorKind::NotFound => {
                    let parent = path.parent().unwrap_or(path);
                    vec![format!("make the directory first: `mkdir -p {}`", parent.display())]
                }
                _ => vec!["choose a place that you can write to".to_owned()],
            },
            Self::Exists { path, .. } => {
                let mut hints = vec!["choose another path".to_owned()];
                // Nobody shall be told to remove a device, or the whole system.
                let kind = std::fs::symlink_metadata(path).ok().map(|metadata| metadata.file_type());
                let is_root = path.canonicalize().is_ok_and(|path| path.parent().is_none());
                if kind.is_some_and(|kind| kind.is_file() || kind.is_dir()) && !is_root {
                    hints.push(format!(
                        "if nothing in it is needed, remove it yourself: `rm -r {}`",
                        path.display()
                    ));
                }
                hints
            }
            Self::SamePlace { .. } => vec!["give each output a path of its own".to_owned()],
            Self::OneArchitecture { .. } => {
                vec!["build one architecture at a time, or write an OCI layout: `-o oci:DIR`".to_owned()]
            }
            Self::Init { .. } => vec!["give your file another place".to_owned()],
            Self::Config(_) => vec!["this is a fault of this program: please report it".to_owned()],
            Self::Changed(_) => vec![LEAVE_AS_IT_IS.to_owned()],
            Self::Cancelled => vec![],
        }
    }
}

/// Refuses outputs that cannot be written, or would take something away, before any work is done for them.
pub(crate) fn check(request: &BuildRequest) -> Result<(), EmitError> {
    let outputs = &request.outputs;
    places::check_apart(outputs)?;
    let initramfs = outputs.iter().find(|output| matches!(output, Output::Initramfs(_)));
    if let Some(output) = initramfs
        && request.extra.iter().any(|file| file.to == "init" || file.to.starts_with("init/"))
    {
        return Err(EmitError::Init { output: output.to_string() });
    }
    outputs.iter().try_for_each(|output| match output {
        Output::Oci(path) => staging::check_dir(path, oci::is_former),
        Output::Dir(path) => staging::check_dir(path, dir::is_former),
        Output::Docker(path) | Output::Tar(path) | Output::Initramfs(path) | Output::Sbom(path) => {
            staging::check_file(path)
        }
    })
}

/// What has been written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// What names the output: the manifest's digest, the file's, or the tree's.
    pub(crate) digest: Digest,
    /// Bytes on disk.
    pub(crate) size: u64,
}

/// All that the writers need.
pub(crate) struct Emitter<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) trees: &'a Trees,
    pub(crate) config: &'a ImageConfig,
    pub(crate) contents: &'a Contents,
    pub(crate) cache: &'a Cache,
    pub(crate) progress: &'a dyn Progress,
}

impl Emitter<'_> {
    /// Writes one output.
    pub(crate) fn emit(&self, output: &Output) -> Result<Written, EmitError> {
        match output {
            Output::Tar(path) => self.tar(path),
            Output::Dir(path) => self.dir(path),
            Output::Oci(path) => self.oci(path),
            Output::Docker(path) => self.docker(path),
            Output::Initramfs(path) => self.initramfs(path),
            Output::Sbom(path) => self.sbom(path),
        }
    }

    fn check_cancelled(&self) -> Result<(), EmitError> {
        if self.progress.cancelled() { Err(EmitError::Cancelled) } else { Ok(()) }
    }
}

/// Gives an I/O error the output's path; a request to stop stays one, and what is no fault of the output's.
fn write_error(path: &Path) -> impl Fn(io::Error) -> EmitError {
    move |source| match source.get_ref() {
        Some(inner) if inner.is::<Stopped>() => EmitError::Cancelled,
        Some(inner) if let Some(changed) = inner.downcast_ref::<Changed>() => {
            EmitError::Changed(changed.clone().into())
        }
        _ => EmitError::Write { path: path.to_owned(), source },
    }
}
