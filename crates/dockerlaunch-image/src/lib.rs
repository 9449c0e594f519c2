//! Builds the Docker image: a root file system that holds only what Docker needs, from signed distribution packages.
//!
//! The way of a build, each step one module:
//!
//! ```text
//! image/*.toml ─▶ spec ─┐
//! apt, mirror ─▶ source ─▶ verify ─▶ resolve ─▶ fetch ─▶ deb ─▶ recipe + elf ─▶ tree ─▶ lint ─▶ emit
//! ```
//!
//! [`build`] runs it all for a [`BuildRequest`] and returns a [`BuildReport`]; [`contents`] stops before anything is
//! written and returns what the image would hold, with where each file comes from and why. Nothing that has not been verified is
//! unpacked, nothing that comes out of a package is executed but dockerd, which is asked for its flags, and no step needs
//! root.

#![forbid(unsafe_code)]

mod build;
mod cache;
mod closure;
mod config;
mod contents;
mod deb;
mod digest;
mod document;
mod duplicates;
mod elf;
mod emit;
mod error;
pub mod explain;
mod fetch;
mod file_content;
mod flags;
#[doc(hidden)]
pub mod fuzzing;
mod licences;
mod limited;
mod lint;
mod lock;
mod name;
mod origin;
mod preload;
mod progress;
mod recipe;
mod request;
mod resolve;
mod sbom;
pub mod source;
pub mod spec;
mod spec_file;
pub mod table;
pub mod tree;
mod upstream;
pub mod verify;
mod version;

pub use build::{BuildReport, IndexReport, PackageRecord, WrittenOutput, build, build_index, contents};
pub use config::ImageConfig;
pub use contents::{Class, Contents, Entry};
pub use deb::UnpackError;
pub use digest::Digest;
pub use document::{DocumentError, write_whole};
pub use elf::ElfError;
pub use emit::EmitError;
pub use error::{BuildError, Hints};
pub use fetch::FetchError;
pub use lint::Finding;
pub use lock::{LOCK_FILE, Lock, LockError};
pub use name::ImageName;
pub use origin::{DESCRIPTION, EXTRA, LIBRARIES, LICENCE, Origin, PRELOAD, Source};
pub use preload::Preload;
pub use progress::{Event, Progress, Silent};
pub use recipe::RecipeError;
pub use request::{Arch, BuildRequest, Compression, Output, ParseOptionError};
pub use spec_file::{ExtraFile, SPEC_FILE, SpecFile};
pub use upstream::{Engine, UpstreamError};
pub use version::Version;

/// Where everything of the image lies, without the leading slash.
pub const PRIVATE_DIR: &str = "usr/lib/dockerlaunch";

/// Where the docker command looks for its plugins, without the leading slash.
pub(crate) const CLI_PLUGIN_DIR: &str = "usr/libexec/docker/cli-plugins";

/// Where archives of images lie below [`PRIVATE_DIR`], for the launcher to load.
pub(crate) const PRELOADED: &str = "images";

/// The file below [`PRIVATE_DIR`] with the licence texts of packages.
pub(crate) const LICENCES: &str = "licences";

/// The program interpreter of every dynamic executable in the image.
///
/// 24 characters on purpose: it fits in place of the loader path of every architecture Debian packages use, so that no
/// executable has to grow for it.
pub const INTERPRETER: &str = "/usr/lib/dockerlaunch/ld";

/// Where the image's shared libraries lie, as executables name it in their DT_RPATH.
pub const LIBRARY_DIR: &str = "/usr/lib/dockerlaunch/lib";
