//! `modprobe`: loads modules with what they depend on (modprobe(8), modules.dep(5)). The kernel calls it for features
//! that it has as modules, and dockerd for those that it wants.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::{say, sys};

/// Runs `modprobe`; returns the exit status.
pub fn modprobe(args: &[String]) -> u8 {
    // What is not known might mean the opposite, as -r does.
    if let Some(unknown) = args.iter().find(|a| !is_known(a)) {
        say::error(&format!("modprobe: option `{unknown}` is not supported; known: -a -b -q -s -v\n"));
        return 1;
    }
    let quiet = args.iter().any(|a| a == "-q" || a == "--quiet" || a.starts_with("-q"));
    let all =
        args.iter().any(|a| a == "--all" || (a.starts_with('-') && !a.starts_with("--") && a.contains('a')));
    let names: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    // Without -a, what follows the first name are parameters of the module.
    let names = if all { &names[..] } else { names.get(..1).unwrap_or_default() };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let Some(index) = Index::open(&release) else {
        if !quiet {
            let place = format!("/lib/modules/{release}");
            say::error(&format!("modprobe: no modules for kernel {release}: {place} is not here\n"));
        }
        return 1;
    };
    let mut failed = false;
    for name in names {
        if let Err(error) = index.load(name) {
            failed = true;
            if !quiet {
                say::error(&format!("modprobe: {name}: {error}\n"));
            }
        }
    }
    u8::from(failed)
}

/// Options that change nothing of importance here, in one word or apart; and names.
fn is_known(arg: &str) -> bool {
    match arg.strip_prefix('-') {
        None | Some("-" | "-all" | "-quiet" | "-verbose" | "-use-blacklist" | "-syslog") => true,
        Some(letters) => !letters.is_empty() && letters.chars().all(|c| "abqsv".contains(c)),
    }
}

/// The module index that depmod(8) wrote for one kernel.
struct Index {
    folder: PathBuf,
    dependencies: String,
}

impl Index {
    fn open(release: &str) -> Option<Self> {
        let folders = ["/lib/modules", "/usr/lib/modules"].map(|top| Path::new(top).join(release));
        folders.into_iter().find_map(|folder| {
            let dependencies = fs::read_to_string(folder.join("modules.dep")).ok()?;
            Some(Self { folder, dependencies })
        })
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// Loads a module, by its name or by an alias.
    fn load(&self, wanted: &str) -> io::Result<()> {
        let wanted = normal(wanted);
        if let Some(files) = files_of(&self.dependencies, &wanted) {
            return self.insert_all(&files);
        }
        if is_listed(&self.text("modules.builtin"), &wanted) {
            return Ok(());
        }
        let names = names_of_alias(&self.text("modules.alias"), &wanted);
        let mut loaded = Err(io::Error::new(io::ErrorKind::NotFound, "no such module"));
        for name in names {
            if let Some(files) = files_of(&self.dependencies, &normal(&name)) {
                loaded = self.insert_all(&files);
            }
        }
        loaded
    }

    fn insert_all(&self, files: &[String]) -> io::Result<()> {
        for file in files {
            let path = self.folder.join(file);
            let compressed = !file.ends_with(".ko");
            match sys::finit_module(File::open(path)?.as_fd(), compressed) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// The kernel writes `_` where file names have `-`.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Module name of a file: `kernel/fs/overlayfs/overlay.ko.xz` is `overlay`.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    normal(base.split_once(".ko").map_or(base, |(name, _)| name))
}

/// Files to load for a module, in order: modules.dep lists the deepest dependency last.
fn files_of(dependencies: &str, name: &str) -> Option<Vec<String>> {
    dependencies.lines().find_map(|line| {
        let (file, needs) = line.split_once(':')?;
        (name_of(file) == name)
            .then(|| needs.split_whitespace().rev().chain([file]).map(str::to_owned).collect())
    })
}

fn is_listed(builtin: &str, name: &str) -> bool {
    builtin.lines().any(|line| name_of(line) == name)
}

/// Modules that an alias stands for; the patterns are those of fnmatch(3).
fn names_of_alias(aliases: &str, wanted: &str) -> Vec<String> {
    aliases
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
        .filter(|(pattern, _)| matches(pattern.as_bytes(), wanted.as_bytes()))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// `*`, `?` and `[…]` as in fnmatch(3), which depmod writes.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((b'*', after)), _) => (0..=text.len()).any(|skip| matches(after, &text[skip..])),
        (Some((b'?', after)), Some((_, rest))) => matches(after, rest),
        (Some((b'[', after)), Some((first, rest))) => match after.iter().position(|c| *c == b']') {
            Some(end) => in_class(&after[..end], *first) && matches(&after[end + 1..], rest),
            None => false,
        },
        (Some((expected, after)), Some((first, rest))) => {
            // The wanted name is in its normal form.
            let same = expected == first || (*expected == b'-' && *first == b'_');
            same && matches(after, rest)
        }
        (Some(_), None) => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    match class {
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_class(rest, byte),
        [one, rest @ ..] => *one == byte || in_class(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/net/bridge/bridge.ko: kernel/net/802/stp.ko kernel/net/llc/llc.ko\n\
                       kernel/net/802/stp.ko: kernel/net/llc/llc.ko\nkernel/fs/overlayfs/overlay.ko.xz:\n";

    #[test]
    fn dependencies_come_first_pain_37() {
        let files = files_of(DEP, "bridge").expect("listed");
        assert_eq!(files, ["kernel/net/llc/llc.ko", "kernel/net/802/stp.ko", "kernel/net/bridge/bridge.ko"]);
        assert_eq!(files_of(DEP, "overlay").expect("listed"), ["kernel/fs/overlayfs/overlay.ko.xz"]);
        assert_eq!(files_of(DEP, "none"), None);
    }

    #[test]
    fn aliases_are_patterns() {
        let text = "# c\nalias fs-overlay overlay\nalias pci:v00001AF4d*sv* virtio_pci\nalias cpu:type:x86,*[0-9a]x foo\n";
        assert_eq!(names_of_alias(text, "fs_overlay"), ["overlay"]);
        assert_eq!(names_of_alias(text, "pci:v00001AF4d1sv2"), ["virtio_pci"]);
        assert_eq!(names_of_alias(text, "cpu:type:x86,77x"), ["foo"]);
        assert!(names_of_alias(text, "cpu:type:x86,7bx").is_empty());
    }

    #[test]
    fn options_that_mean_something_else_are_refused() {
        assert!(["-va", "-q", "--", "--all", "br_netfilter", "-b"].iter().all(|a| is_known(a)));
        assert!(["-r", "-n", "-D", "--remove", "-ar", "-"].iter().all(|a| !is_known(a)));
    }

    #[test]
    fn built_in_is_as_good_as_loaded_pain_37() {
        assert!(is_listed("kernel/fs/ext4/ext4.ko\n", "ext4"));
        assert!(!is_listed("kernel/fs/ext4/ext4.ko\n", "ext"));
    }
}
