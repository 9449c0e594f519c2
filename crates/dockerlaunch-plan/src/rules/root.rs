//! The root mount: it must be one that pivot_root(2) accepts, and it should propagate.

use crate::facts::Facts;
use crate::{Action, Config, Verdict};

/// In an initramfs the root is the kernel's own first mount, which has no parent and so cannot be pivoted.
pub fn pivotable(_: &Config, facts: &Facts) -> Verdict {
    if facts.process.root_can_be_pivoted {
        Verdict::satisfied("the root mount has a parent")
    } else {
        Verdict::Needed { actions: vec![Action::CoverRoot] }
    }
}

/// `mount --make-rshared /`.
pub fn shared(_: &Config, facts: &Facts) -> Verdict {
    match facts.mount_at("/") {
        None => Verdict::skipped("/ is not a mount point here"),
        Some(root) if root.shared => Verdict::satisfied("/ is shared"),
        Some(_) => Verdict::Needed { actions: vec![Action::MakeShared { target: "/".into() }] },
    }
}
