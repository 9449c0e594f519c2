//! Why no image can be put together.

use std::io;

use crate::elf::ElfError;
use crate::error::Hints;
use crate::file_content::LEAVE_AS_IT_IS;
use crate::origin::EXTRA;
use crate::tree::Conflict;

/// The image cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The suite lacks a package.
    #[error("suite `{suite}` has no package `{package}`")]
    NoPackage {
        /// Its name.
        package: String,
        /// The suite's codename.
        suite: String,
    },
    /// A package lacks a file.
    #[error("package {package} has no file `{path}`")]
    NoFile {
        /// Its name.
        package: String,
        /// The path or glob.
        path: String,
        /// The file that it has that is most like it.
        nearest: Option<String>,
    },
    /// A path in a component is not a valid glob.
    #[error("component path `{path}` is not a valid pattern")]
    Pattern {
        /// The path.
        path: String,
        /// What is wrong with it.
        #[source]
        source: glob::PatternError,
    },
    /// A library is nowhere among the dependencies.
    #[error("no package has the library {soname} that {needed_by} of package {package} needs")]
    NoLibrary {
        /// The library.
        soname: String,
        /// What needs it.
        needed_by: String,
        /// The package of what needs it.
        package: String,
    },
    /// An executable that must be static is not.
    #[error("`{path}` of package {package} must be a static executable and is not")]
    NotStatic {
        /// The file.
        path: String,
        /// The package.
        package: String,
    },
    /// An executable of the user's own is dynamic.
    #[error("the extra file `/{path}` is not a static executable")]
    ExtraNotStatic {
        /// Where it was to lie.
        path: String,
    },
    /// A file that was there is not as it was.
    #[error("cannot read a file of the image")]
    Read(#[source] io::Error),
    /// An executable is for another architecture.
    #[error("{name} is not an executable for {arch}")]
    WrongArch {
        /// Which.
        name: String,
        /// The image's architecture.
        arch: &'static str,
    },
    /// A program does not tell its flags.
    #[error("`{program}` does not tell its flags: {reason}")]
    Flags {
        /// Which.
        program: String,
        /// What happened instead.
        reason: String,
    },
    /// The launcher is no executable.
    #[error("what is to be the launcher is no executable")]
    Launcher(#[source] ElfError),
    /// The launcher does not run on its own.
    #[error("the launcher is not a static executable")]
    LauncherNotStatic,
    /// Two components want different things at one place.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The list of packages cannot be written.
    #[error("cannot describe the image")]
    Describe(#[source] io::Error),
}

impl Hints for RecipeError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoFile { package, nearest: Some(nearest), .. } => vec![
                format!("the nearest that {package} has is `/{nearest}`"),
                "leave the component out with `--without NAME`".to_owned(),
            ],
            Self::NoPackage { .. }
            | Self::NoFile { .. }
            | Self::NoLibrary { .. }
            | Self::NotStatic { .. } => vec![
                "image/components knows the suites forky, trixie and bookworm: choose one with `--suite`"
                    .to_owned(),
                "leave the component out with `--without NAME`".to_owned(),
            ],
            Self::WrongArch { .. } | Self::Launcher(_) | Self::LauncherNotStatic => {
                vec!["give a static launcher for the image's architecture with `--launcher FILE`".to_owned()]
            }
            Self::Flags { .. } => vec![
                "name a directory for temporary files that allows executables (TMPDIR)".to_owned(),
                "leave the list out with `--without flags`: the launcher then asks the engine".to_owned(),
            ],
            Self::ExtraNotStatic { .. } => {
                vec!["link it statically: the image has no libraries but what Docker needs".to_owned()]
            }
            Self::Read(_) => vec![LEAVE_AS_IT_IS.to_owned()],
            Self::Conflict(conflict) if conflict.components.iter().any(|name| name == EXTRA) => {
                vec!["give the file another place in the image, or leave the component out".to_owned()]
            }
            Self::Pattern { .. } | Self::Conflict(_) | Self::Describe(_) => {
                vec!["this is a fault of image/components: please report it".to_owned()]
            }
        }
    }
}
