//! The recipe: components and unpacked packages make the image's tree.

use std::io;

use crate::closure::{self, Closure, Needing};
use crate::elf::{self, ElfFacts};
use crate::error::{BuildError, Hints};
use crate::flags;
use crate::preload::Preload;
use crate::progress::{Event, Progress};
use crate::request::Arch;
use crate::resolve::{Resolver, matches};
use crate::spec::{Component, FlagList, PackageFile};
use crate::tree::{Conflict, Content, Tree};
use crate::{CLI_PLUGIN_DIR, LIBRARY_DIR, PRELOADED, PRIVATE_DIR};

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
            Self::NoPackage { .. }
            | Self::NoFile { .. }
            | Self::NoLibrary { .. }
            | Self::NotStatic { .. } => vec![
                "image/components knows the suites forky, trixie and bookworm: choose one with `--suite`"
                    .to_owned(),
                "leave the component out with `--without NAME`".to_owned(),
            ],
            Self::WrongArch { .. } | Self::LauncherNotStatic => {
                vec!["give a static launcher for the image's architecture with `--launcher FILE`".to_owned()]
            }
            Self::Flags { .. } => vec![
                "name a directory for temporary files that allows executables (TMPDIR)".to_owned(),
                "leave the list out with `--without flags`: the launcher then asks the engine".to_owned(),
            ],
            Self::Pattern { .. } | Self::Conflict(_) | Self::Describe(_) => {
                vec!["this is a fault of image/components: please report it".to_owned()]
            }
        }
    }
}

/// The two shapes of the image.
#[derive(Debug)]
pub(crate) struct Trees {
    /// For adding to any base image: the private directory and names in `/usr/bin`.
    pub(crate) embedding: Tree,
    /// For running as it is: names in `/usr/local/bin` as well.
    pub(crate) container: Tree,
}

/// The files of packages that these components name.
pub(crate) fn patterns(components: &[&Component]) -> Result<Vec<glob::Pattern>, RecipeError> {
    components.iter().flat_map(|component| &component.files).map(|file| pattern(&file.from)).collect()
}

fn pattern(from: &str) -> Result<glob::Pattern, RecipeError> {
    glob::Pattern::new(from.trim_start_matches('/'))
        .map_err(|source| RecipeError::Pattern { path: from.to_owned(), source })
}

/// What the recipe is made with.
pub(crate) struct Kitchen<'a, 'b> {
    pub(crate) components: &'a [&'a Component],
    pub(crate) codename: &'a str,
    pub(crate) arch: Arch,
    pub(crate) launcher: &'a [u8],
    pub(crate) preload: &'a [Preload],
    pub(crate) resolver: &'a mut Resolver<'b>,
    pub(crate) progress: &'a dyn Progress,
}

/// Puts the trees together. `describe` makes the file that says what is inside, once that is known.
pub(crate) fn cook(
    kitchen: Kitchen<'_, '_>,
    describe: &dyn Fn(&Resolver<'_>) -> io::Result<Vec<u8>>,
) -> Result<Trees, BuildError> {
    let mut tree = Tree::new();
    let mut public: Vec<(String, String, bool)> = Vec::new();
    let mut needing = Vec::new();
    let components = kitchen.components;
    for component in components {
        for file in &component.launchers {
            kitchen.check_launcher()?;
            tree.add_file(&private(&file.to), 0o755, Content::new(kitchen.launcher))
                .map_err(RecipeError::from)?;
            public.extend(file.public.iter().map(|name| (name.clone(), file.to.clone(), false)));
        }
        for file in &component.files {
            kitchen.add_files(file, &mut tree, &mut needing)?;
            public.extend(file.public.iter().map(|name| (name.clone(), file.to.clone(), file.local)));
            if file.cli_plugin {
                add_cli_plugin(&mut tree, &file.to)?;
            }
        }
        for link in &component.links {
            tree.add_symlink(&private(&link.to), &link.target).map_err(RecipeError::from)?;
            public.extend(link.public.iter().map(|name| (name.clone(), link.to.clone(), link.local)));
        }
        for set in &component.link_sets {
            for name in &set.names {
                let path = private(&format!("{}/{name}", set.directory));
                tree.add_symlink(&path, &set.target).map_err(RecipeError::from)?;
            }
        }
        for text in &component.texts {
            let content = Content::new(text.content.trim_start_matches('\n').as_bytes());
            tree.add_file(&private(&text.to), 0o644, content).map_err(RecipeError::from)?;
        }
    }
    let closure = closure::close(needing, kitchen.resolver)?;
    kitchen.add_libraries(&closure, &mut tree)?;
    for list in components.iter().flat_map(|component| &component.flag_lists) {
        kitchen.add_flags(list, &mut tree)?;
    }
    for Preload { name, content } in kitchen.preload {
        tree.add_file(&private(&format!("{PRELOADED}/{name}")), 0o644, content.clone())
            .map_err(RecipeError::from)?;
    }
    let description = describe(kitchen.resolver).map_err(RecipeError::Describe)?;
    tree.add_file(&private("image.json"), 0o644, Content::new(description)).map_err(RecipeError::from)?;
    add_public_names(tree, &public).map_err(BuildError::from)
}

fn add_public_names(mut tree: Tree, public: &[(String, String, bool)]) -> Result<Trees, RecipeError> {
    let below_usr = PRIVATE_DIR.trim_start_matches("usr/");
    for (name, to, _) in public {
        tree.add_symlink(&format!("usr/bin/{name}"), &format!("../{below_usr}/{to}"))?;
    }
    let mut container = tree.clone();
    for (name, to, _) in public.iter().filter(|(_, _, local)| *local) {
        container.add_symlink(&format!("usr/local/bin/{name}"), &format!("../../{below_usr}/{to}"))?;
    }
    Ok(Trees { embedding: tree, container })
}

fn add_cli_plugin(tree: &mut Tree, to: &str) -> Result<(), RecipeError> {
    let name = to.rsplit('/').next().unwrap_or(to);
    let below_usr = PRIVATE_DIR.trim_start_matches("usr/");
    tree.add_symlink(&format!("{CLI_PLUGIN_DIR}/{name}"), &format!("../../../{below_usr}/{to}"))?;
    Ok(())
}

fn private(path: &str) -> String {
    format!("{PRIVATE_DIR}/{path}")
}

impl Kitchen<'_, '_> {
    fn check_launcher(&self) -> Result<(), BuildError> {
        let facts = self.inspect("the launcher", self.launcher)?;
        if facts.is_static() { Ok(()) } else { Err(RecipeError::LauncherNotStatic.into()) }
    }

    fn inspect(&self, name: &str, bytes: &[u8]) -> Result<ElfFacts, BuildError> {
        let facts = elf::inspect(name, bytes)?;
        if facts.machine == self.arch.elf_machine() {
            Ok(facts)
        } else {
            Err(RecipeError::WrongArch { name: name.to_owned(), arch: self.arch.name() }.into())
        }
    }

    /// Adds the files of a package that one entry of a component names.
    fn add_files(
        &self,
        file: &PackageFile,
        tree: &mut Tree,
        needing: &mut Vec<Needing>,
    ) -> Result<(), BuildError> {
        let package = file.package_for(self.codename);
        let missing = || RecipeError::NoFile { package: package.to_owned(), path: file.from.clone() };
        let open = self.resolver.get(package).ok_or_else(missing)?;
        let wanted = pattern(&file.from)?;
        let skip = file.skip.iter().map(|skip| pattern(skip)).collect::<Result<Vec<_>, _>>()?;
        let name_of = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut joined = Vec::new();
        let mut found = false;
        let mut left: Vec<&String> = file.names.iter().collect();
        for path in open.contents.entries.keys().filter(|path| matches(&wanted, path)) {
            let name = name_of(path);
            if skip.iter().any(|skip| skip.matches(&name)) {
                continue;
            }
            if !file.names.is_empty() && !file.names.contains(&name) {
                continue;
            }
            left.retain(|left| **left != name);
            let Some((_, mode, Some(content))) = open.contents.resolve(path) else { continue };
            found = true;
            if file.join {
                joined.extend_from_slice(content.bytes());
                continue;
            }
            let to = if file.to.ends_with('/') {
                format!("{}{}", file.to, name_of(path))
            } else {
                file.to.clone()
            };
            let content = self.adapt(file, package, path, content, needing)?;
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            tree.add_file(&private(&to), mode, content).map_err(RecipeError::from)?;
        }
        if file.join {
            tree.add_file(&private(&file.to), 0o644, Content::new(joined)).map_err(RecipeError::from)?;
        }
        if let Some(name) = left.first() {
            let path = file.from.replace(&name_of(&file.from), name);
            return Err(RecipeError::NoFile { package: package.to_owned(), path }.into());
        }
        if found { Ok(()) } else { Err(missing().into()) }
    }

    /// Executables are made to use the private loader; modules and other files stay as they are.
    fn adapt(
        &self,
        file: &PackageFile,
        package: &str,
        path: &str,
        content: &Content,
        needing: &mut Vec<Needing>,
    ) -> Result<Content, BuildError> {
        let must_be_static =
            || RecipeError::NotStatic { path: file.from.clone(), package: package.to_owned() };
        if !elf::is_elf(content.bytes()) {
            return if file.must_be_static { Err(must_be_static().into()) } else { Ok(content.clone()) };
        }
        let facts = self.inspect(path, content.bytes())?;
        if file.must_be_static && !facts.is_static() {
            return Err(must_be_static().into());
        }
        let adapted = if facts.interpreter.is_some() || facts.runpath.is_some() {
            Content::new(elf::relocate(path, content.bytes())?)
        } else {
            content.clone()
        };
        needing.push(Needing { name: path.to_owned(), package: package.to_owned(), facts });
        Ok(adapted)
    }

    /// Only a machine of the image's architecture can ask; elsewhere the launcher asks when it comes to it.
    fn add_flags(&self, list: &FlagList, tree: &mut Tree) -> Result<(), BuildError> {
        if self.arch != Arch::HOST {
            let text =
                format!("without `{}`: it takes a machine of the image's architecture to make it", list.to);
            self.progress.event(Event::Warning(&text));
            return Ok(());
        }
        let flags = flags::of(tree, &list.of)
            .map_err(|reason| RecipeError::Flags { program: list.of.clone(), reason })?;
        tree.add_file(&private(&list.to), 0o644, Content::new(flags.into_bytes()))
            .map_err(RecipeError::from)?;
        Ok(())
    }

    fn add_libraries(&self, closure: &Closure, tree: &mut Tree) -> Result<(), BuildError> {
        if let Some(loader) = &closure.loader {
            tree.add_file(&private("ld"), 0o755, loader.content.clone()).map_err(RecipeError::from)?;
        }
        for (soname, library) in &closure.libraries {
            let content = &library.content;
            let facts = self.inspect(soname, content.bytes())?;
            // A library's own DT_RUNPATH would switch the executable's DT_RPATH off for what it needs.
            let content = if facts.runpath.is_some() {
                Content::new(elf::relocate(soname, content.bytes())?)
            } else {
                content.clone()
            };
            let path = format!("{}/{soname}", LIBRARY_DIR.trim_start_matches('/'));
            tree.add_file(&path, 0o644, content).map_err(RecipeError::from)?;
        }
        Ok(())
    }
}
