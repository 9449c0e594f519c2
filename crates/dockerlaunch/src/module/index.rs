//! What depmod(8) wrote for one kernel: `modules.dep`, `.alias`, `.symbols`, `.softdep`, `.builtin` and its modinfo.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Module {
    /// In a file, relative to the index.
    File {
        /// As the kernel calls it.
        name: String,
        /// Where it is.
        file: String,
    },
    /// In the kernel itself.
    BuiltIn(String),
}

/// The index of one kernel's modules.
pub(super) struct Index {
    pub(super) folder: PathBuf,
    /// File, and the files it needs, the deepest last; by name.
    dependencies: BTreeMap<String, (String, Vec<String>)>,
    /// Patterns and modules' names, in the order of the file; read when it comes to them.
    aliases: OnceCell<Vec<(Vec<u8>, String)>>,
    builtin_aliases: OnceCell<Vec<(Vec<u8>, String)>>,
    builtin: BTreeSet<String>,
    /// What should come before and after a module.
    soft: Vec<(String, [Vec<String>; 2])>,
}

impl Index {
    pub(super) fn open(root: &str, release: &str) -> Option<Self> {
        let folders = ["lib/modules", "usr/lib/modules"].map(|top| format!("{root}/{top}/{release}"));
        folders.iter().find_map(|folder| {
            let folder = Path::new(folder).to_path_buf();
            let dependencies = fs::read_to_string(folder.join("modules.dep")).ok()?;
            let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
            Some(Self {
                dependencies: parse_dependencies(&dependencies),
                builtin: text("modules.builtin").lines().map(name_of).collect(),
                soft: parse_soft(&text("modules.softdep")),
                aliases: OnceCell::new(),
                builtin_aliases: OnceCell::new(),
                folder,
            })
        })
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    fn file(&self, name: &str) -> Option<Module> {
        let (file, _) = self.dependencies.get(name)?;
        Some(Module::File { name: name.to_owned(), file: file.clone() })
    }

    /// The modules of this name or alias, by the first of the lists that has any, as kmod looks them up.
    pub(super) fn find(&self, wanted: &str) -> Vec<Module> {
        let wanted = normal(wanted);
        if let Some(module) = self.file(&wanted) {
            return vec![module];
        }
        let named = |names: Vec<String>| -> Vec<Module> {
            names.iter().filter_map(|name| self.file(&normal(name))).collect()
        };
        let found = if wanted.starts_with("symbol:") {
            named(matching(&parse_aliases(&self.text("modules.symbols")), &wanted))
        } else {
            let aliases = self.aliases.get_or_init(|| parse_aliases(&self.text("modules.alias")));
            named(matching(aliases, &wanted))
        };
        if !found.is_empty() {
            return found;
        }
        if self.builtin.contains(&wanted) {
            return vec![Module::BuiltIn(wanted)];
        }
        let aliases =
            self.builtin_aliases.get_or_init(|| parse_modinfo(&self.text("modules.builtin.modinfo")));
        matching(aliases, &wanted).into_iter().map(Module::BuiltIn).collect()
    }

    /// What to load for a module, in order, itself included; and whether it can do without.
    pub(super) fn probe(&self, module: &Module) -> Vec<(Module, bool)> {
        let mut required = self.needs(module);
        required.push(module.clone());
        let mut list = Vec::new();
        self.visit(module, &mut Vec::new(), &mut list);
        let is_required = |part: Module| (part.clone(), required.contains(&part));
        list.into_iter().map(is_required).collect()
    }

    /// The deepest first.
    fn needs(&self, module: &Module) -> Vec<Module> {
        let Module::File { name, .. } = module else { return Vec::new() };
        let needs = self.dependencies.get(name).map(|(_, needs)| needs.as_slice()).unwrap_or_default();
        let module = |file: &String| Module::File { name: name_of(file), file: file.clone() };
        needs.iter().rev().map(module).collect()
    }

    fn visit(&self, module: &Module, visited: &mut Vec<Module>, list: &mut Vec<Module>) {
        if visited.contains(module) {
            return;
        }
        visited.push(module.clone());
        for part in self.needs(module).iter().chain([module]) {
            let [before, after] = self.soft_of(part);
            before.iter().flat_map(|name| self.find(name)).for_each(|soft| self.visit(&soft, visited, list));
            list.push(part.clone());
            after.iter().flat_map(|name| self.find(name)).for_each(|soft| self.visit(&soft, visited, list));
        }
    }

    /// Of several lines for one module the first counts.
    fn soft_of(&self, module: &Module) -> [&[String]; 2] {
        let (Module::File { name, .. } | Module::BuiltIn(name)) = module;
        let line = self.soft.iter().find(|(pattern, _)| matches(pattern.as_bytes(), name.as_bytes()));
        line.map(|(_, [before, after])| [before.as_slice(), after.as_slice()]).unwrap_or_default()
    }
}

/// The kernel writes `_` where file names have `-`; in brackets that is a range.
fn normal(name: &str) -> String {
    let mut bracket = false;
    let letter = |letter| {
        bracket = if letter == '[' { true } else { bracket && letter != ']' };
        if letter == '-' && !bracket { '_' } else { letter }
    };
    name.chars().map(letter).collect()
}

/// Module name of a file: `kernel/fs/overlayfs/overlay.ko.xz` is `overlay`.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    normal(base.split_once(".ko").map_or(base, |(name, _)| name))
}

fn parse_dependencies(text: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let line = |line: &str| {
        let (file, needs) = line.split_once(':')?;
        let needs = needs.split_whitespace().map(str::to_owned).collect();
        Some((name_of(file), (file.to_owned(), needs)))
    };
    text.lines().filter_map(line).collect()
}

/// `alias PATTERN MODULE`.
fn parse_aliases(text: &str) -> Vec<(Vec<u8>, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
        .map(|(pattern, name)| (normal(pattern).into_bytes(), name.to_owned()))
        .collect()
}

/// `MODULE.alias=PATTERN`, each ended by a zero.
fn parse_modinfo(text: &str) -> Vec<(Vec<u8>, String)> {
    text.split('\0')
        .filter_map(|entry| entry.split_once(".alias="))
        .map(|(name, pattern)| (normal(pattern).into_bytes(), normal(name)))
        .collect()
}

/// `softdep MODULE pre: A B post: C`.
fn parse_soft(text: &str) -> Vec<(String, [Vec<String>; 2])> {
    let line = |line: &str| {
        let mut words = line.strip_prefix("softdep ")?.split_whitespace();
        let name = normal(words.next()?);
        let (mut lists, mut current) = ([Vec::new(), Vec::new()], None);
        for word in words {
            match (word, current) {
                ("pre:", _) => current = Some(0),
                ("post:", _) => current = Some(1),
                (word, Some(list)) => lists[list as usize].push(word.to_owned()),
                _ => {}
            }
        }
        Some((name, lists))
    };
    text.lines().filter_map(line).collect()
}

/// Modules that an alias stands for; the patterns are those of fnmatch(3).
fn matching(aliases: &[(Vec<u8>, String)], wanted: &str) -> Vec<String> {
    let alias = aliases.iter().filter(|(pattern, _)| matches(pattern, wanted.as_bytes()));
    alias.map(|(_, name)| name.clone()).collect()
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
        (Some((expected, after)), Some((first, rest))) => expected == first && matches(after, rest),
        (Some(_), None) => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    match class {
        [b'!' | b'^', rest @ ..] => !in_set(rest, byte),
        _ => in_set(class, byte),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&str, &str)] = &[
        (
            "modules.dep",
            "kernel/net/bridge/bridge.ko: kernel/net/802/stp.ko kernel/net/llc/llc.ko\n\
             kernel/net/802/stp.ko: kernel/net/llc/llc.ko\nkernel/net/llc/llc.ko:\nkernel/fs/overlayfs/overlay.ko.xz:\n\
             kernel/fs/btrfs/btrfs.ko:\nkernel/crc-a.ko:\nkernel/crc-b.ko:\n",
        ),
        (
            "modules.alias",
            "# c\nalias fs-overlay overlay\nalias crc32c crc_a\nalias crc32c crc_b\nalias cpu:type:x86,*[0-9a]x llc\n",
        ),
        ("modules.symbols", "alias symbol:br_forward bridge\n"),
        ("modules.softdep", "# c\nsoftdep btrfs pre: crc32c ext4 post: fs-overlay\nsoftdep btrfs pre: llc\n"),
        ("modules.builtin", "kernel/fs/ext4/ext4.ko\n"),
        ("modules.builtin.modinfo", "ext4.alias=fs-ext3\0ext4.license=GPL\0"),
    ];

    fn shown(wanted: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lib/modules/6.1");
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in FILES {
            fs::write(folder.join(file), text).unwrap();
        }
        let index = Index::open(root.path().to_str().unwrap(), "6.1").unwrap();
        let modules = index.find(wanted);
        let name = |(module, required): &(Module, bool)| {
            let (Module::File { name, .. } | Module::BuiltIn(name)) = module;
            if *required { name.clone() } else { format!("({name})") }
        };
        let parts = modules.iter().flat_map(|module| index.probe(module));
        parts.map(|part| name(&part)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn dependencies_come_first_pain_37() {
        assert_eq!(shown("bridge"), "llc stp bridge");
        assert_eq!(shown("none"), "");
    }

    #[test]
    fn aliases_are_patterns() {
        assert_eq!(shown("fs-overlay"), "overlay");
        assert_eq!(shown("crc32c"), "crc_a crc_b");
        assert_eq!(shown("cpu:type:x86,77x"), "llc");
        assert_eq!(shown("cpu:type:x86,7bx"), "");
        assert_eq!(shown("symbol:br_forward"), "llc stp bridge");
    }

    #[test]
    fn soft_dependencies_are_around_it_and_may_be_missing() {
        assert_eq!(shown("btrfs"), "(crc_a) (crc_b) (ext4) btrfs (overlay)");
    }

    #[test]
    fn built_in_is_as_good_as_loaded_pain_37() {
        assert_eq!(shown("ext4"), "ext4");
        assert_eq!(shown("fs_ext3"), "ext4");
        assert_eq!(shown("ext"), "");
    }
}
