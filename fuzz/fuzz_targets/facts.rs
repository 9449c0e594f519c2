//! What the kernel writes in /proc, where mount points and cgroups carry names that users choose; and resolv.conf.
#![no_main]

use dockerlaunch_plan::facts::{cgroups, confinement, image_archive, kernel, mountinfo, network, process};
use dockerlaunch_plan::supervise::tree::Process;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mounts = mountinfo::parse(text);
    assert!(mounts.len() <= text.lines().count());
    mountinfo::root_has_parent(text);
    cgroups::parse_controllers(text);
    let cgroups = cgroups::Cgroups { membership: cgroups::parse_membership(text), ..Default::default() };
    for mount in &mounts {
        let _ = cgroups.place_in(mount);
    }
    confinement::parse_apparmor(text);
    kernel::is_gvisor(text, text);
    kernel::parse_filesystems(text);
    let is_blank = |c: char| matches!(c, ' ' | '\t'..='\r');
    assert!(text.contains('"') || kernel::parse_parameters(text).iter().all(|word| !word.contains(is_blank)));
    assert!(kernel::parse_init_arguments(text).len() <= text.len());
    process::parse_effective_capabilities(text);
    process::is_initial_uid_map(text);
    Process::parse(text);
    image_archive::digests(text);
    text.as_bytes().first_chunk().and_then(image_archive::header);
    assert!(network::parse_nameservers(text).len() <= text.lines().count());
    network::parse_options(text);
    assert!(network::parse_engines(text).iter().all(|path| path.ends_with(".sock")));
});
