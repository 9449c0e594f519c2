use std::collections::BTreeMap;

use super::*;
use crate::config::Engine;
use crate::facts::Mount;
use crate::facts::storage::{Space, Storage};

const GIB: u64 = 1 << 30;

fn config(words: &str, env: &[(&str, &str)]) -> Config {
    let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::new(Engine::new("dockerd", &args), &env)
}

/// A data root on this file system, where the overlay went that way.
fn on(fstype: &str, overlay: Overlay) -> Facts {
    let mounts = vec![
        Mount::new("/", "overlay", &["rw"], &["rw"], false),
        Mount::new("/var/lib/docker", fstype, &["rw"], &["rw"], false),
    ];
    let space = Some(Space { size: 100 * GIB, free: 50 * GIB, inodes: 1000, free_inodes: 900 });
    let storage = Storage {
        place: "/var/lib/docker".into(),
        exists: true,
        overlay: Some(overlay),
        space,
        ..Storage::default()
    };
    Facts { mounts, storage, ..Facts::default() }
}

fn refuses(fstype: &str) -> Facts {
    on(fstype, Overlay::Refused("Invalid argument (os error 22)".into()))
}

fn works() -> Facts {
    on("ext4", Overlay::Works)
}

/// The verdict in words, with all that a user is told.
fn words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Needed { actions } => actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Verdict::Satisfied { evidence } => format!("ok: {evidence}"),
        Verdict::Skipped { reason } => format!("skip: {reason}"),
        Verdict::Blocked { problem } => format!("stop: {problem}"),
    }
}

#[track_caller]
fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no `{wanted}` in: {text}");
    }
}

#[test]
fn an_overlay_that_cannot_be_mounted_is_told_with_its_price_and_remedy_pain_4() {
    let text = words(driver(&config("", &[]), &refuses("overlay")));
    assert_says(
        &text,
        &[
            "stop: error: no overlay can be mounted in /var/lib/docker, which is on overlay",
            "tried: Invalid argument",
            "the root of a container",
            "`vfs` is used instead, and copies every layer",
            "`-v docker-data:/var/lib/docker`",
            "emptyDir",
            "DOCKERLAUNCH_STORAGE=tmpfs",
        ],
    );
    assert_eq!(words(driver(&config("", &[]), &works())), "ok: overlay2 on ext4, in /var/lib/docker");
}

#[test]
fn the_log_names_the_driver_and_what_it_is_on_pain_4() {
    let told = |words: &str, env: &[(&str, &str)], facts: &Facts| told(&config(words, env), facts);
    let place = "in /var/lib/docker";
    let vfs = format!("vfs (copies every layer) on nfs4, {place}");
    for (line, env, facts, wanted) in [
        ("", &[][..], works(), format!("overlay2 on ext4, {place}")),
        ("", &[], refuses("nfs4"), vfs.clone()),
        ("", &[], refuses("btrfs"), format!("btrfs on btrfs, {place}")),
        ("-s vfs", &[("DOCKER_DRIVER", "overlay2")], works(), format!("overlay2 on ext4, {place}")),
        ("-s vfs", &[("DOCKER_DRIVER", "")], refuses("nfs4"), vfs),
        ("--feature containerd-snapshotter=true", &[], works(), format!("overlayfs on ext4, {place}")),
        ("--feature containerd-snapshotter=false", &[], works(), format!("overlay2 on ext4, {place}")),
        ("--feature containerd-snapshotter", &[], refuses("nfs4"), format!("overlayfs on nfs4, {place}")),
    ] {
        assert_eq!(told(line, env, &facts), wanted, "{line}");
    }
    let mut new = works();
    new.storage.prefers_containerd = true;
    assert_eq!(told("", &[], &new), format!("overlayfs on ext4, {place}"));
    new.storage.overlay = Some(Overlay::Refused("EINVAL".into()));
    assert_eq!(told("", &[], &new), format!("native (copies every layer) on ext4, {place}"));
    new.storage.overlay = Some(Overlay::Works);
    new.storage.prior = vec!["overlay2".into()];
    assert_eq!(told("", &[], &new), format!("overlay2 on ext4, {place}"), "its images are kept");
    let feature = "--feature containerd-snapshotter";
    assert_eq!(told(feature, &[], &new), format!("overlayfs on ext4, {place}"), "they are not looked for");
}

#[test]
fn an_overlay_that_was_asked_for_or_used_before_must_work_pain_4() {
    let config = |words| config(words, &[]);
    for line in ["-s overlay2", "--storage-driver=overlayfs"] {
        assert_says(
            &words(medium(&config(line), &refuses("overlay"))),
            &["stop: ", "--storage-driver names `overlay"],
        );
        assert_says(&words(medium(&config(line), &works())), &["ok: "]);
    }
    let mut before = refuses("fuse.sshfs");
    before.storage.prior = vec!["overlay2".into()];
    assert_says(
        &words(medium(&config(""), &before)),
        &["stop: ", "holds images of `overlay2`", "-v docker-data:"],
    );
    assert_says(&words(medium(&config("-s vfs"), &before)), &["skip: "]);
    before.storage.prior.push("zfs".into());
    assert_says(
        &words(medium(&config(""), &before)),
        &["several drivers: overlay2, zfs", "--storage-driver overlay2"],
    );
    assert_says(&words(medium(&config(""), &refuses("overlay"))), &["skip: "]);
    // In containerd it looks for no graph driver's images; before version 29 it takes an overlay there or fails.
    let feature = config("--feature containerd-snapshotter");
    assert_says(
        &words(medium(&feature, &before)),
        &["stop: ", "in containerd, and there with `overlayfs` alone"],
    );
    before.storage.prefers_containerd = true;
    assert_says(&words(medium(&feature, &before)), &["skip: "]);
    assert_says(&words(driver(&feature, &before)), &["stop: ", "`native` is used instead"]);
}

#[test]
fn an_overlay_that_works_in_part_is_taken_and_told_pain_4() {
    let facts = on("fuse.sshfs", Overlay::Limited("Invalid cross-device link (os error 18)".into()));
    for line in ["", "-s overlay2"] {
        let config = config(line, &[]);
        assert_says(&words(driver(&config, &facts)), &["stop: ", "does not work in full", "cross-device"]);
        assert!(!words(medium(&config, &facts)).starts_with("stop"), "dockerd takes it");
        assert_says(&told(&config, &facts), &["overlay2 on fuse.sshfs"]);
    }
    assert_says(&words(driver(&config("-s vfs", &[]), &facts)), &["ok: "]);
}

#[test]
fn the_data_root_is_put_on_memory_or_a_file_pain_4() {
    let asked =
        |how: &str, facts: &Facts| words(medium(&config("", &[("DOCKERLAUNCH_STORAGE", how)]), facts));
    assert_eq!(asked("tmpfs:1g", &works()), "mount tmpfs at /var/lib/docker (size=1073741824,mode=0710)");
    assert_says(&asked("tmpfs", &on("tmpfs", Overlay::Works)), &["ok: "]);
    assert_says(&asked("loop", &works()), &["there is no mke2fs", "--with ext4"]);
    let mut facts = works();
    facts.storage.mke2fs = Some("/bin/mke2fs".into());
    let image = "mount /var/lib/docker/.dockerlaunch.ext4 at /var/lib/docker";
    assert_eq!(asked("loop", &facts), format!("make an ext4 of 45.0 GiB in /var/lib/docker, and {image}"));
    assert_eq!(
        asked("loop:20g", &facts),
        format!("make an ext4 of 20.0 GiB in /var/lib/docker, and {image}")
    );
    facts.storage.has_image = true;
    assert_eq!(asked("loop", &facts), image, "used again");
    facts.process.in_user_namespace = true;
    assert_says(&asked("loop", &facts), &["stop: ", "user namespace"]);
    // The option is the same, and dockerd does not see it.
    for line in ["--storage=tmpfs --debug", "--storage tmpfs --debug"] {
        let config = config(line, &[("DOCKERLAUNCH_STORAGE", "loop")]);
        assert_eq!(config.settings.storage, Some(Medium::Tmpfs(None)), "{line}");
        assert_eq!(config.engine.args, ["--debug"]);
    }
    assert_says(
        &config("--storage=tmpsf", &[]).mistakes.expect("wrong").to_string(),
        &["DOCKERLAUNCH_STORAGE=tmpfs"],
    );
}

#[test]
fn what_hooks_may_change_is_decided_after_them_pains_4_25() {
    let config = config("-s overlay2", &[("DOCKERLAUNCH_STORAGE", "tmpfs")]);
    let mut facts = refuses("overlay");
    facts.hooks = vec![crate::facts::Hook { path: "/hook".into(), executable: true }];
    let steps = |facts: &Facts| -> Vec<String> {
        let steps = crate::plan(&config, facts).steps.into_iter();
        steps
            .filter(|step| step.id.0.starts_with("storage") || step.id.0 == "images")
            .map(|step| words(step.verdict))
            .collect()
    };
    assert_eq!(steps(&facts), ["skip: hooks may still change it"; 6]);
    // To look at an engine that runs.
    facts.storage.locked = true;
    assert!(steps(&facts).iter().all(|words| !words.contains("hooks")));
    facts.storage.locked = false;
    facts.hooks[0].executable = false;
    assert!(steps(&facts).iter().all(|words| !words.contains("hooks")));
}

#[test]
fn a_data_root_has_one_engine_pain_25() {
    let config = config("", &[("DOCKERLAUNCH_LOCK_TIMEOUT", "3s")]);
    let mut facts = works();
    assert_eq!(words(lock(&config, &facts)), "lock /var/lib/docker, within 3s");
    facts.storage.holder = Some("runner-7, pid 1 in pid:[4026532999], since then".into());
    let text = words(lock(&config, &facts));
    assert_says(
        &text,
        &["another engine uses", "locked by runner-7, pid 1", "--data-root /var/lib/docker/NAME"],
    );
    facts.storage.locked = true;
    assert_says(&words(lock(&config, &facts)), &["ok: "]);
}

#[test]
fn a_disk_that_is_full_read_only_or_hangs_is_told_pain_26() {
    let config = config("", &[]);
    let unwritable = |errno, words: &str| {
        let mut facts = works();
        facts.storage.unwritable = Some((errno, words.to_owned()));
        facts
    };
    for (facts, wanted) in [
        (unwritable(errno::EROFS, "Read-only file system"), "/var/lib/docker (ext4) is read-only"),
        (unwritable(errno::ENOSPC, "No space left"), "/var/lib/docker (ext4) is full"),
        (unwritable(13, "Permission denied"), "/var/lib/docker (ext4) cannot be written"),
    ] {
        assert_says(
            &words(root(&config, &facts)),
            &["stop: ", wanted, "-v docker-data:", "DOCKERLAUNCH_STORAGE=tmpfs"],
        );
    }
    let mut stuck = works();
    stuck.storage.stuck = true;
    assert_says(&words(root(&config, &stuck)), &["does not answer"]);
    assert_says(&words(root(&config, &works())), &["ok: /var/lib/docker (ext4): 50.0 GiB free of 100.0 GiB"]);
}

#[test]
fn a_disk_that_is_nearly_full_or_slow_is_told_with_numbers_pain_26() {
    let config = config("", &[]);
    let said = |free, free_inodes, slow| {
        let mut facts = works();
        facts.storage.space = Some(Space { size: 100 * GIB, free, inodes: 1000, free_inodes });
        facts.storage.slow = slow;
        words(room(&config, &facts))
    };
    assert_says(&said(50 * GIB, 900, None), &["ok: "]);
    assert_says(&said(4 * GIB, 900, None), &["nearly full", "4.0 GiB free of 100.0 GiB", "prune"]);
    assert_says(&said(50 * GIB, 49, None), &["nearly full", "49 inodes free of 1000"]);
    assert_says(&said(50 * GIB, 900, Some(2300)), &["is slow", "2300 ms"]);
    let mut large = works();
    large.storage.space = Some(Space { size: 2000 * GIB, free: 11 * GIB, inodes: 0, free_inodes: 0 });
    assert_says(&words(room(&config, &large)), &["ok: "]);
    large.storage.space = Some(Space { size: 2000 * GIB, free: 9 * GIB, inodes: 0, free_inodes: 0 });
    assert_says(&words(room(&config, &large)), &["nearly full"]);
    // btrfs counts no inodes.
    let mut facts = on("btrfs", Overlay::Works);
    facts.storage.space = Some(Space { size: 100 * GIB, free: 50 * GIB, inodes: 0, free_inodes: 0 });
    assert_says(&words(room(&config, &facts)), &["ok: "]);
}

#[test]
fn images_of_the_system_need_a_launcher_that_stays_pain_27() {
    let mut facts = works();
    assert_says(&words(images(&config("", &[]), &facts)), &["skip: "]);
    facts.storage.preloaded = vec!["base.tar".into()];
    assert_says(&words(images(&config("", &[]), &facts)), &["ok: ", "base.tar"]);
    assert_says(
        &words(images(&config("", &[("DOCKER_LAUNCH_REAP", "false")]), &facts)),
        &["stop: ", "REAP=true"],
    );
}

#[test]
fn a_tmp_that_is_there_is_not_hidden_pain_55() {
    let mut facts = works();
    facts.paths.insert("/tmp".into(), crate::facts::Entry::Dir(0o755));
    let plan = crate::plan(&config("", &[]), &facts);
    let touched = |action: &Action| action.to_string().split(' ').any(|word| word == "/tmp");
    assert!(!plan.needed().any(|(_, actions)| actions.iter().any(touched)));
    facts.paths.clear();
    let plan = crate::plan(&config("", &[]), &facts);
    assert!(plan.needed().any(|(_, actions)| actions.iter().any(touched)), "where there is none, it is made");
}

#[test]
fn a_disk_carries_the_data_root_by_what_is_on_it() {
    let config = config("", &[("DOCKERLAUNCH_STORAGE", "/dev/vda")]);
    let told = |device: Option<Device>, mke2fs: bool| {
        let mut facts = works();
        facts.storage.device = device;
        facts.storage.mke2fs = mke2fs.then(|| "/usr/sbin/mke2fs".into());
        words(medium(&config, &facts))
    };
    let holds = |fstype: &str| Some(Device::Holds(fstype.into()));
    assert_eq!(told(holds("xfs"), false), "mount /dev/vda (xfs) at /var/lib/docker");
    assert_eq!(
        told(Some(Device::Empty), true),
        "make an ext4 on /dev/vda, and mount /dev/vda (ext4) at /var/lib/docker"
    );
    assert_eq!(told(Some(Device::Mounted), false), "ok: /dev/vda at /var/lib/docker");
    for (device, told_is) in [
        (None, "docker run --device /dev/vda …"),
        (Some(Device::Empty), "from-scratch build --with ext4"),
        (Some(Device::Unknown), "nothing is written to it"),
        (Some(Device::Unreadable("it is no block device".into())), "it is no block device"),
    ] {
        assert_says(&told(device, false), &["stop: ", told_is, "DOCKERLAUNCH_STORAGE=tmpfs"]);
    }
    for wrong in ["/dev/", "/srv/disk", "dev/vda"] {
        assert!(self::config("", &[("DOCKERLAUNCH_STORAGE", wrong)]).mistakes.is_some(), "{wrong}");
    }
}

#[test]
fn the_kernels_init_looks_at_disks_once_there_is_a_dev() {
    let mut config = config("", &[("DOCKERLAUNCH_STORAGE", "/dev/vda")]);
    let mut facts = works();
    facts.process.is_kernel_init = true;
    let disk = |config: &Config, facts: &Facts| {
        let steps = crate::plan(config, facts).steps;
        words(steps.into_iter().find(|step| step.id.0 == "storage.disk").expect("a step").verdict)
    };
    assert_eq!(disk(&config, &facts), "skip: the disk is looked at once there is a /dev");
    config.hooks_have_run = true;
    assert_says(&disk(&config, &facts), &["stop: ", "there is no disk /dev/vda", "its driver"]);
    facts.storage.device = Some(Device::Holds("ext4".into()));
    assert_eq!(disk(&config, &facts), "mount /dev/vda (ext4) at /var/lib/docker");
}
