//! Chooses the modules that a machine gets: a distribution has thousands, mostly for hardware that no virtual machine has.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use dockerlaunch_image::tree::{Content, Tree};

/// What Docker, its networks and its file systems may ask for, and the machine's own devices: files whose path begins so. What
/// they depend on comes along.
const WANTED: &[&str] = &[
    "kernel/arch/",
    "kernel/crypto/",
    "kernel/drivers/block/loop.",
    "kernel/drivers/block/virtio_blk.",
    "kernel/drivers/char/hw_random/virtio-rng.",
    // By its keyboard a machine is told to stop.
    "kernel/drivers/input/keyboard/atkbd.",
    "kernel/drivers/input/serio/",
    "kernel/drivers/net/dummy.",
    "kernel/drivers/net/geneve.",
    "kernel/drivers/net/ifb.",
    "kernel/drivers/net/ipvlan/",
    "kernel/drivers/net/macvlan.",
    "kernel/drivers/net/macvtap.",
    "kernel/drivers/net/net_failover.",
    "kernel/drivers/net/tap.",
    "kernel/drivers/net/tun.",
    "kernel/drivers/net/veth.",
    "kernel/drivers/net/virtio_net.",
    "kernel/drivers/net/vrf.",
    "kernel/drivers/net/vxlan",
    "kernel/drivers/net/wireguard/",
    "kernel/drivers/virtio/",
    "kernel/fs/binfmt_misc.",
    "kernel/fs/btrfs/",
    "kernel/fs/ext4/",
    "kernel/fs/fuse/",
    "kernel/fs/jbd2/",
    "kernel/fs/nfs/",
    "kernel/fs/nls/",
    "kernel/fs/overlayfs/",
    "kernel/fs/xfs/",
    "kernel/lib/",
    "kernel/net/802",
    "kernel/net/bridge/",
    "kernel/net/core/",
    "kernel/net/ipv4/",
    "kernel/net/ipv6/",
    "kernel/net/key/",
    "kernel/net/llc/",
    "kernel/net/netfilter/",
    "kernel/net/netlink/",
    "kernel/net/packet/",
    "kernel/net/sched/",
    "kernel/net/tls/",
    "kernel/net/unix/",
    "kernel/net/xfrm/",
];

/// What our `modprobe` reads besides `modules.dep`.
const INDEX: &[&str] =
    &["modules.alias", "modules.builtin", "modules.builtin.modinfo", "modules.softdep", "modules.symbols"];

/// The chosen modules of this directory, at their place in the machine, with an index that names no others.
pub(crate) fn tree(directory: &Path, release: &str) -> io::Result<Tree> {
    let index = fs::read_to_string(directory.join("modules.dep"))?;
    let files = chosen(&index);
    let mut tree = Tree::new();
    let mut add = |name: &str, content: Content| {
        let place = format!("lib/modules/{release}/{name}");
        tree.add_file(&place, 0o644, content).map_err(io::Error::other)
    };
    for file in &files {
        let in_place = |error: io::Error| io::Error::new(error.kind(), format!("{file}: {error}"));
        add(file, Content::of_file(&directory.join(file)).map_err(in_place)?)?;
    }
    let name = |line: &&str| line.split(':').next().is_some_and(|file| files.contains(file));
    let kept: String = index.lines().filter(name).map(|line| format!("{line}\n")).collect();
    add("modules.dep", Content::new(kept.into_bytes()))?;
    for file in INDEX.iter().filter(|file| directory.join(file).exists()) {
        add(file, Content::of_file(&directory.join(file))?)?;
    }
    Ok(tree)
}

/// Each line of `modules.dep` names a module, and all that it needs.
fn chosen(index: &str) -> BTreeSet<&str> {
    let is_wanted = |line: &&str| WANTED.iter().any(|start| line.starts_with(start));
    let words = |line| str::split(line, [':', ' ']).filter(|word| !word.is_empty());
    index.lines().filter(is_wanted).flat_map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz\n\
                       kernel/net/802/stp.ko.xz: kernel/net/llc/llc.ko.xz\n\
                       kernel/net/llc/llc.ko.xz:\n\
                       kernel/net/wireless/cfg80211.ko.xz:\n\
                       kernel/drivers/net/veth.ko.xz: updates/odd.ko.xz\n\
                       updates/odd.ko.xz:\n\
                       kernel/drivers/gpu/drm/drm.ko.xz:\n";

    #[test]
    fn what_is_wanted_comes_with_what_it_needs() {
        let found: Vec<&str> = chosen(DEP).into_iter().collect();
        assert_eq!(
            found,
            [
                "kernel/drivers/net/veth.ko.xz",
                "kernel/net/802/stp.ko.xz",
                "kernel/net/bridge/bridge.ko.xz",
                "kernel/net/llc/llc.ko.xz",
                "updates/odd.ko.xz",
            ]
        );
    }

    #[test]
    fn the_machine_has_an_index_of_its_own_modules() {
        let directory = tempfile::tempdir().unwrap();
        for line in DEP.lines() {
            let file = directory.path().join(line.split(':').next().unwrap());
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "module").unwrap();
        }
        fs::write(directory.path().join("modules.dep"), DEP).unwrap();
        fs::write(directory.path().join("modules.alias"), "alias x y\n").unwrap();
        let tree = tree(directory.path(), "6.1").unwrap();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).filter(|path| path.contains('.')).collect();
        assert!(paths.contains(&"lib/modules/6.1/modules.alias"), "{paths:?}");
        assert!(paths.contains(&"lib/modules/6.1/updates/odd.ko.xz"), "{paths:?}");
        assert!(!paths.iter().any(|path| path.contains("drm") || path.contains("wireless")), "{paths:?}");
        fs::remove_file(directory.path().join("updates/odd.ko.xz")).unwrap();
        let told = super::tree(directory.path(), "6.1").unwrap_err().to_string();
        assert!(told.contains("updates/odd.ko.xz"), "{told}");
    }
}
