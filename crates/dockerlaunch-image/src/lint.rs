//! Rules that every finished image keeps. A finding is a fault of ours, not of the user.

mod executables;
mod files;

use std::fmt;

use executables::Executables;

use crate::tree::Tree;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule.
    pub rule: &'static str,
    /// What breaks it.
    pub subject: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.rule)
    }
}

/// What breaks a rule, one subject each.
enum Check {
    Tree(fn(&Tree) -> Vec<String>),
    Executables(fn(&Executables<'_>) -> Vec<String>),
}

const RULES: &[(&str, Check)] = &[
    ("only the private directory and public names", Check::Tree(files::foreign)),
    ("links lead somewhere", Check::Tree(files::dangling)),
    ("no file has special permissions", Check::Tree(files::special_permissions)),
    ("only the owner can write", Check::Tree(files::writable_by_others)),
    ("it is known where each file comes from", Check::Tree(files::unowned)),
    ("packages have their licence text", Check::Tree(files::without_licence)),
    ("no content is twice in a directory of a component", Check::Tree(files::duplicates)),
    ("the image is of a sane size", Check::Tree(files::too_large)),
    ("scripts have their interpreter", Check::Tree(executables::scripts)),
    ("executables use the private loader and libraries", Check::Executables(executables::loaders)),
    ("every library that is needed is there", Check::Executables(executables::missing_libraries)),
    ("libraries have the symbol versions that are needed", Check::Executables(executables::missing_versions)),
];

/// Checks all rules; findings are sorted.
pub(crate) fn lint(tree: &Tree) -> Vec<Finding> {
    let executables = Executables::of(tree);
    let broken = |check: &Check| match check {
        Check::Tree(check) => check(tree),
        Check::Executables(check) => check(&executables),
    };
    let mut findings: Vec<Finding> = RULES
        .iter()
        .flat_map(|(rule, check)| broken(check).into_iter().map(|subject| Finding { rule, subject }))
        .collect();
    findings.sort_by(|a, b| (a.rule, &a.subject).cmp(&(b.rule, &b.subject)));
    findings
}

#[cfg(test)]
mod tests;
