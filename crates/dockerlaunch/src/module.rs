//! `modprobe`: loads modules with what they depend on (modprobe(8)). The kernel calls it for features that it has as modules,
//! and dockerd for those that it wants. Configuration (modprobe.d(5)) is not read.

mod index;
mod packed;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::module::index::{Index, Module};
use crate::say::say;
use crate::{say, sys};

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    quiet: bool,
    all: bool,
    /// Only say what would be loaded.
    show: bool,
    /// Change nothing.
    dry: bool,
    root: Option<String>,
    release: Option<String>,
    words: Vec<String>,
}

/// Runs `modprobe`; returns the exit status.
pub fn modprobe(args: &[String]) -> u8 {
    let asked = match Asked::parse(args) {
        Ok(asked) => asked,
        Err(message) => {
            say::error(&format!("modprobe: {message}\n"));
            return 1;
        }
    };
    let own = || rustix::system::uname().release().to_string_lossy().into_owned();
    let release = asked.release.clone().unwrap_or_else(own);
    let Some(index) = Index::open(asked.root.as_deref().unwrap_or_default(), &release) else {
        if !asked.quiet {
            let place = format!("{}/lib/modules/{release}", asked.root.as_deref().unwrap_or_default());
            say::error(&format!("modprobe: no modules for kernel {release}: {place} is not here\n"));
        }
        return 1;
    };
    // Without -a, what follows the first name are parameters of the module.
    let (names, parameters) = match asked.words.split_first() {
        Some((_, rest)) if !asked.all => (&asked.words[..1], rest.join(" ")),
        _ => (&asked.words[..], String::new()),
    };
    let (mut failed, mut shown) = (false, String::new());
    for name in names {
        let modules = index.find(name);
        if modules.is_empty() {
            failed = true;
            if !asked.quiet {
                let place = index.folder.display();
                say::error(&format!("modprobe: FATAL: Module {name} not found in directory {place}\n"));
            }
        }
        for module in modules {
            if asked.show {
                shown.extend(index.probe(&module).iter().map(|(part, _)| show(&index, part)));
            } else if !asked.dry
                && let Err(error) = load(&index, &module, &parameters)
            {
                failed = true;
                if !asked.quiet {
                    say::error(&format!("modprobe: {name}: {error}\n"));
                }
            }
        }
    }
    say::data(&shown);
    u8::from(failed)
}

impl Asked {
    /// What is not known is refused: it might mean the opposite, as -r does.
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or_else(|| format!("option `{arg}` needs a value"));
            match arg.as_str() {
                "--" => {
                    asked.words.extend(args.cloned());
                    break;
                }
                "--all" => asked.all = true,
                "--quiet" => asked.quiet = true,
                "--show-depends" => asked.show = true,
                "--dry-run" | "--show" | "--simulate" => asked.dry = true,
                "--verbose" | "--use-blacklist" | "--syslog" => {}
                "-d" | "--dirname" => asked.root = Some(value()?),
                "-S" | "--set-version" => asked.release = Some(value()?),
                _ => match arg.strip_prefix('-') {
                    None => asked.words.push(arg.clone()),
                    Some(letters) => {
                        let known = !letters.is_empty() && letters.chars().all(|c| asked.letter(c));
                        if !known {
                            let known = "-a -b -d DIR -D -n -q -s -S RELEASE -v";
                            return Err(format!("option `{arg}` is not supported; known: {known}"));
                        }
                    }
                },
            }
        }
        if asked.words.is_empty() {
            return Err("no module is named; give its name or alias".to_owned());
        }
        Ok(asked)
    }

    fn letter(&mut self, letter: char) -> bool {
        match letter {
            'a' => self.all = true,
            'q' => self.quiet = true,
            'D' => self.show = true,
            'n' => self.dry = true,
            'b' | 's' | 'v' => {}
            _ => return false,
        }
        true
    }
}

/// As kmod shows it.
fn show(index: &Index, module: &Module) -> String {
    match module {
        Module::File { file, .. } => format!("insmod {} \n", index.folder.join(file).display()),
        Module::BuiltIn(name) => format!("builtin {name}\n"),
    }
}

/// Modules that devices of this machine ask for by their `modalias` (kernel Documentation/driver-api/driver-model/platform.rst),
/// and that are not loaded yet.
pub(crate) fn missing_drivers() -> Vec<String> {
    let Some(index) = own_index() else { return Vec::new() };
    let mut names: Vec<String> = modaliases()
        .iter()
        .flat_map(|alias| index.find(alias))
        .filter_map(|module| match module {
            Module::File { name, .. } if !is_loaded(&name) => Some(name),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Loads them, and then those of what has appeared by that: behind a bus are devices.
pub(crate) fn load_drivers() {
    let Some(index) = own_index() else { return };
    let mut tried = BTreeSet::new();
    loop {
        let news: Vec<String> =
            missing_drivers().into_iter().filter(|name| tried.insert(name.clone())).collect();
        if news.is_empty() {
            return;
        }
        for module in news.iter().flat_map(|name| index.find(name)) {
            if let Err(error) = load(&index, &module, "") {
                say!(Debug, "a driver: {module:?}: {error}");
            }
        }
    }
}

fn own_index() -> Option<Index> {
    Index::open("", &rustix::system::uname().release().to_string_lossy())
}

/// Those of every device that has no driver.
fn modaliases() -> Vec<String> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(Path::new("/sys/bus"))
        .flat_map(|bus| entries(&bus.join("devices")).collect::<Vec<_>>())
        .filter(|device| !device.join("driver").exists())
        .filter_map(|device| fs::read_to_string(device.join("modalias")).ok())
        .map(|text| text.trim_end().to_owned())
        .collect()
}

/// Loads a module and what it depends on.
fn load(index: &Index, module: &Module, parameters: &str) -> io::Result<()> {
    for (part, required) in index.probe(module) {
        let Module::File { name, file } = &part else { continue };
        if is_loaded(name) {
            continue;
        }
        let parameters = if part == *module { parameters } else { "" };
        match insert(&index.folder.join(file), parameters) {
            Err(error) if required && error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_loaded(name: &str) -> bool {
    fs::read_to_string(format!("/sys/module/{name}/initstate")).is_ok_and(|state| state.trim_end() == "live")
}

fn insert(path: &Path, parameters: &str) -> io::Result<()> {
    let parameters = CString::new(parameters)?;
    let file = File::open(path)?;
    let compressed = path.extension().is_some_and(|extension| extension != "ko");
    match sys::finit_module(file.as_fd(), &parameters, compressed) {
        // Kernels before 5.17, and those built without CONFIG_MODULE_DECOMPRESS.
        Err(error) if compressed && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            sys::init_module(&packed::unpack(path)?, &parameters)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Asked::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_that_mean_something_else_are_refused() {
        assert!(parse("-va -q -- br_netfilter").unwrap().all);
        for option in ["-r", "--remove", "-ar", "-"] {
            assert!(parse(option).unwrap_err().contains(option), "{option}");
        }
        assert_eq!(parse("x -S").unwrap_err(), "option `-S` needs a value");
        assert!(parse("-q").unwrap_err().contains("no module is named"));
    }

    #[test]
    fn what_follows_two_dashes_is_no_option() {
        assert_eq!(parse("-D -S 6.1 -d / -- -r").unwrap().words, ["-r"]);
    }
}
