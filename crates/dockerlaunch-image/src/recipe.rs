//! The recipe: components and unpacked packages make the image's tree.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use crate::closure::{self, Closure, Library, Needing, library_path, loader_path};
use crate::duplicates;
use crate::elf::{self, ElfFacts};
use crate::error::BuildError;
use crate::flags;
use crate::licences;
use crate::origin::{DESCRIPTION, EXTRA, LIBRARIES, Origin, PRELOAD, Source};
use crate::preload::Preload;
use crate::progress::{Event, Progress};
use crate::request::Arch;
use crate::resolve::{OpenPackage, Resolver, matches};
use crate::spec::{Component, FlagList, PackageFile, nearest};
use crate::spec_file::ExtraFile;
use crate::tree::{Content, Kind, Tree};
use crate::upstream::{COMPONENTS, Programs};
use crate::{PRELOADED, PRIVATE_DIR};

mod error;
mod public_names;

pub use error::RecipeError;
use public_names::{add_cli_plugin, add_public_names, names};

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
    let files = components.iter().flat_map(|component| &component.files);
    files.map(|file| pattern(&file.from)).chain(licences::patterns().into_iter().map(Ok)).collect()
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
    pub(crate) programs: Option<&'a Programs>,
    pub(crate) preload: &'a [Preload],
    pub(crate) extra: &'a [ExtraFile],
    pub(crate) resolver: &'a mut Resolver<'b>,
    pub(crate) progress: &'a dyn Progress,
}

/// Puts the trees together. `describe` makes the file that says what is inside, once that is known.
pub(crate) fn cook(
    kitchen: Kitchen<'_, '_>,
    describe: &dyn Fn(&Tree, &Resolver<'_>) -> io::Result<Vec<u8>>,
) -> Result<Trees, BuildError> {
    let mut tree = Tree::new();
    let mut public = Vec::new();
    let mut needing = Vec::new();
    let components = kitchen.components;
    for component in components {
        let own = |reason| Arc::new(Origin::of(&component.name, Source::Component, reason));
        for file in &component.launchers {
            kitchen.check_launcher()?;
            let origin = Arc::new(Origin::of(&component.name, Source::Launcher, &file.reason));
            place_file(&mut tree, &file.to, 0o755, Content::new(kitchen.launcher), &origin)?;
            public.extend(names(&file.public, &file.to, false, &own(&file.reason)));
        }
        for file in &component.files {
            match kitchen.programs.filter(|_| COMPONENTS.contains(&component.name.as_str())) {
                Some(programs) => kitchen.add_program(component, file, programs, &mut tree, &mut needing)?,
                None => kitchen.add_files(component, file, &mut tree, &mut needing)?,
            }
            public.extend(names(&file.public, &file.to, file.local, &own(&file.reason)));
            if file.cli_plugin {
                add_cli_plugin(&mut tree, &file.to, &own(&file.reason))?;
            }
        }
        for link in &component.links {
            place_link(&mut tree, &link.to, &link.target, &own(&link.reason))?;
            public.extend(names(&link.public, &link.to, link.local, &own(&link.reason)));
        }
        for set in &component.link_sets {
            for name in &set.names {
                let to = format!("{}/{name}", set.directory);
                place_link(&mut tree, &to, &set.target, &own(&set.reason))?;
            }
        }
        for text in &component.texts {
            let content = Content::new(text.content.trim_start_matches('\n').as_bytes());
            place_file(&mut tree, &text.to, 0o644, content, &own(&text.reason))?;
        }
    }
    let closure = closure::close(&needing, kitchen.resolver)?;
    kitchen.add_libraries(closure, &mut tree)?;
    for component in components {
        for list in &component.flag_lists {
            kitchen.add_flags(component, list, &mut tree)?;
        }
    }
    licences::add(&mut tree, kitchen.resolver)?;
    let mut tree = duplicates::as_links(&tree).map_err(RecipeError::from)?;
    let users = Arc::new(Origin::plain(PRELOAD, Source::User));
    for Preload { name, content } in kitchen.preload {
        place_file(&mut tree, &format!("{PRELOADED}/{name}"), 0o644, content.clone(), &users)?;
    }
    kitchen.add_extra(&mut tree)?;
    let description = describe(&tree, kitchen.resolver).map_err(RecipeError::Describe)?;
    let origin = Arc::new(Origin::plain(DESCRIPTION, Source::Build));
    place_file(&mut tree, "image.json", 0o644, Content::new(description), &origin)?;
    add_public_names(tree, &public).map_err(BuildError::from)
}

fn place_file(
    tree: &mut Tree,
    to: &str,
    mode: u32,
    content: Content,
    origin: &Arc<Origin>,
) -> Result<(), RecipeError> {
    Ok(tree.place(&private(to), mode, Kind::File(content), origin)?)
}

fn place_link(tree: &mut Tree, to: &str, target: &str, origin: &Arc<Origin>) -> Result<(), RecipeError> {
    place_link_at(tree, &private(to), target.to_owned(), origin)
}

fn place_link_at(
    tree: &mut Tree,
    path: &str,
    target: String,
    origin: &Arc<Origin>,
) -> Result<(), RecipeError> {
    Ok(tree.place(path, 0o777, Kind::Symlink(target), origin)?)
}

fn bytes(content: &Content) -> Result<Cow<'_, [u8]>, RecipeError> {
    content.bytes().map_err(RecipeError::Read)
}

fn private(path: &str) -> String {
    format!("{PRIVATE_DIR}/{path}")
}

impl Kitchen<'_, '_> {
    fn check_launcher(&self) -> Result<(), BuildError> {
        let facts = elf::inspect("the launcher", self.launcher).map_err(RecipeError::Launcher)?;
        let facts = self.of_this_arch("the launcher", facts)?;
        if facts.is_static() { Ok(()) } else { Err(RecipeError::LauncherNotStatic.into()) }
    }

    fn inspect(&self, name: &str, bytes: &[u8]) -> Result<ElfFacts, BuildError> {
        Ok(self.of_this_arch(name, elf::inspect(name, bytes)?)?)
    }

    fn of_this_arch(&self, name: &str, facts: ElfFacts) -> Result<ElfFacts, RecipeError> {
        if facts.machine == self.arch.elf_machine() {
            Ok(facts)
        } else {
            Err(RecipeError::WrongArch { name: name.to_owned(), arch: self.arch.name() })
        }
    }

    /// Adds the files of a package that one entry of a component names.
    fn add_files(
        &self,
        component: &Component,
        file: &PackageFile,
        tree: &mut Tree,
        needing: &mut Vec<Needing>,
    ) -> Result<(), BuildError> {
        let package = file.package_for(self.codename);
        let open = self.resolver.get(package);
        let missing = |path: &str| {
            let there = open.into_iter().flat_map(|open| open.contents.entries.keys());
            let nearest = nearest(path.trim_start_matches('/'), there.map(String::as_str));
            let (package, path) = (package.to_owned(), path.to_owned());
            RecipeError::NoFile { package, path, nearest: nearest.map(str::to_owned) }
        };
        let open = open.ok_or_else(|| missing(&file.from))?;
        let origin = |paths| Arc::new(Origin::of(&component.name, source(open, paths), &file.reason));
        let wanted = pattern(&file.from)?;
        let skip = file.skip.iter().map(|skip| pattern(skip)).collect::<Result<Vec<_>, _>>()?;
        let name_of = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut joined = Vec::new();
        let mut found = Vec::new();
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
            found.push(path.clone());
            if file.join {
                joined.push(content);
                continue;
            }
            let to = if file.to.ends_with('/') {
                format!("{}{}", file.to, name_of(path))
            } else {
                file.to.clone()
            };
            let content = self.adapt(file, package, path, &private(&to), content, needing)?;
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            place_file(tree, &to, mode, content, &origin(vec![path.clone()]))?;
        }
        if found.is_empty() {
            return Err(missing(&file.from).into());
        }
        if file.join {
            let mut all: Box<dyn Read> = Box::new(io::empty());
            for content in joined {
                all = Box::new(all.chain(content.reader()));
            }
            place_file(tree, &file.to, 0o644, self.resolver.keep(all)?, &origin(found))?;
        }
        if let Some(name) = left.first() {
            return Err(missing(&file.from.replace(&name_of(&file.from), name)).into());
        }
        Ok(())
    }

    /// Adds a program of the tarball, by the name that it has in the image.
    fn add_program(
        &self,
        component: &Component,
        file: &PackageFile,
        programs: &Programs,
        tree: &mut Tree,
        needing: &mut Vec<Needing>,
    ) -> Result<(), BuildError> {
        let name = file.to.rsplit('/').next().unwrap_or(&file.to);
        let content = programs.get(name)?;
        let path = format!("docker/{name}");
        // Where it needs libraries, they are those of the distribution's program of the same name.
        let package = file.package_for(self.codename);
        let content = self.adapt(file, package, &path, &private(&file.to), content, needing)?;
        let source = Source::Upstream { digest: programs.digest, path };
        let origin = Arc::new(Origin::of(&component.name, source, &file.reason));
        Ok(place_file(tree, &file.to, 0o755, content, &origin)?)
    }

    /// Executables are made to use the private loader; modules and other files stay as they are.
    fn adapt(
        &self,
        file: &PackageFile,
        package: &str,
        path: &str,
        place: &str,
        content: &Content,
        needing: &mut Vec<Needing>,
    ) -> Result<Content, BuildError> {
        let must_be_static =
            || RecipeError::NotStatic { path: file.from.clone(), package: package.to_owned() };
        if !elf::is_elf(content).map_err(RecipeError::Read)? {
            return if file.must_be_static { Err(must_be_static().into()) } else { Ok(content.clone()) };
        }
        let original = bytes(content)?;
        let facts = self.inspect(path, &original)?;
        if file.must_be_static && !facts.is_static() {
            return Err(must_be_static().into());
        }
        let adapted = if facts.interpreter.is_some() || facts.runpath.is_some() {
            self.resolver.keep(elf::relocate(path, &original)?.as_slice())?
        } else {
            content.clone()
        };
        needing.push(Needing { path: place.to_owned(), package: package.to_owned(), facts });
        Ok(adapted)
    }

    /// Adds the user's own files where the user wants them.
    fn add_extra(&self, tree: &mut Tree) -> Result<(), RecipeError> {
        let origin = Arc::new(Origin::plain(EXTRA, Source::User));
        for ExtraFile { to, mode, content } in self.extra {
            if elf::is_elf(content).map_err(RecipeError::Read)? {
                match elf::inspect(to, &bytes(content)?) {
                    Ok(facts) if facts.is_static() => {
                        // Not all that is ELF is for this processor: it may be for another machine, or for the kernel.
                        if mode & 0o111 != 0 && facts.machine != self.arch.elf_machine() {
                            let text = format!(
                                "`/{to}` is an executable for another machine than {}",
                                self.arch.name()
                            );
                            self.progress.event(Event::Warning(&text));
                        }
                    }
                    _ => return Err(RecipeError::ExtraNotStatic { path: to.clone() }),
                }
            }
            tree.place(to, *mode, Kind::File(content.clone()), &origin)?;
        }
        Ok(())
    }

    /// Only a machine of the image's architecture can ask; elsewhere the launcher asks when it comes to it.
    fn add_flags(&self, component: &Component, list: &FlagList, tree: &mut Tree) -> Result<(), BuildError> {
        if self.arch != Arch::HOST {
            let text =
                format!("without `{}`: it takes a machine of the image's architecture to make it", list.to);
            self.progress.event(Event::Warning(&text));
            return Ok(());
        }
        let flags = flags::of(tree, &list.of)
            .map_err(|reason| RecipeError::Flags { program: list.of.clone(), reason })?;
        let origin = Origin::of(&component.name, Source::Program { of: list.of.clone() }, &list.reason);
        place_file(tree, &list.to, 0o644, Content::new(flags.into_bytes()), &Arc::new(origin))?;
        Ok(())
    }

    fn add_libraries(&self, closure: Closure, tree: &mut Tree) -> Result<(), BuildError> {
        let mut place = |path: &str, mode, content, library: Library| -> Result<(), BuildError> {
            let open = self.resolver.get(&library.package);
            let source = open.map_or(Source::Build, |open| source(open, vec![library.from]));
            let mut origin = Origin::plain(LIBRARIES, source);
            origin.needed_by = library.needed_by.into_iter().collect();
            tree.place(path, mode, Kind::File(content), &Arc::new(origin)).map_err(RecipeError::from)?;
            Ok(())
        };
        if let Some(loader) = closure.loader {
            place(&loader_path(), 0o755, loader.content.clone(), loader)?;
        }
        for (soname, library) in closure.libraries {
            let original = bytes(&library.content)?;
            let facts = self.inspect(&soname, &original)?;
            // A library's own DT_RUNPATH would switch the executable's DT_RPATH off for what it needs.
            let content = if facts.runpath.is_some() {
                self.resolver.keep(elf::relocate(&soname, &original)?.as_slice())?
            } else {
                library.content.clone()
            };
            place(&library_path(&soname), 0o644, content, library)?;
        }
        Ok(())
    }
}

/// A package as the place where files come from.
pub(crate) fn source(open: &OpenPackage, paths: Vec<String>) -> Source {
    let package = &open.package;
    Source::Package {
        name: package.name.clone(),
        version: package.version.to_string(),
        digest: package.digest,
        paths,
    }
}
