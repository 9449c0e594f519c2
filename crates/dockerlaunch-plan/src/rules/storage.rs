//! The data root: whether it can be written, who else uses it, and with which driver images are kept in it.

use crate::config::settings::Medium;
use crate::facts::Facts;
use crate::facts::storage::{Device, IMAGE, Overlay, PATIENCE, PATIENCE_OF_A_LAUNCH, PRELOADED, bytes};
use crate::{Action, Config, Problem, Verdict};

use super::engine::data_root;

/// Error numbers that have a remedy of their own (errno(3)).
mod errno {
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const EDQUOT: i32 = 122;
}

fn path(config: &Config, facts: &Facts) -> String {
    data_root(config, &facts.daemon_json)
}

/// By the kernel's name, where it is there: a link may lead to it.
fn place(config: &Config, facts: &Facts) -> String {
    if facts.storage.exists { facts.storage.place.clone() } else { path(config, facts) }
}

fn fstype<'a>(config: &Config, facts: &'a Facts) -> Option<&'a str> {
    facts.mount_of(&place(config, facts)).map(|mount| mount.fstype.as_str())
}

/// Something else to keep the data on.
fn elsewhere(problem: Problem, config: &Config, facts: &Facts) -> Problem {
    let path = path(config, facts);
    let problem = if facts.process.is_kernel_init {
        problem.hint(format!("mount a disk with ext4 or xfs at {path}"))
    } else {
        problem.hint(format!(
            "mount a volume there: `-v docker-data:{path}`; in a pod, `volumes: [{{name: docker-data, emptyDir: {{}}}}]` \
             and `volumeMounts: [{{name: docker-data, mountPath: {path}}}]`"
        ))
    };
    problem.remedy("or keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs")
}

/// It answers, and can be written.
pub fn root(config: &Config, facts: &Facts) -> Verdict {
    let (path, seen) = (path(config, facts), &facts.storage);
    if let Some(Medium::Tmpfs(_)) = &config.settings.storage {
        return Verdict::skipped("memory covers it");
    }
    let on = fstype(config, facts).map_or(String::new(), |fstype| format!(" ({fstype})"));
    let limit = if config.only_looking { PATIENCE } else { PATIENCE_OF_A_LAUNCH };
    let problem = match &seen.unwritable {
        _ if seen.stuck => Problem::new(format!("the data root {path}{on} does not answer"))
            .cause(format!(
                "a directory in it could not be made within {} s: its disk or server hangs",
                limit.as_secs()
            ))
            .hint("see the kernel log of the host, and whether the server of that volume is there"),
        None => {
            let space =
                seen.space.map(|space| format!("{} free of {}", bytes(space.free), bytes(space.size)));
            return Verdict::satisfied(format!(
                "{path}{on}: {}",
                space.as_deref().unwrap_or("nothing is known of it")
            ));
        }
        Some((errno::EROFS, words)) => {
            Problem::new(format!("the data root {path}{on} is read-only")).cause(words)
        }
        Some((errno::ENOSPC | errno::EDQUOT, words)) => {
            Problem::new(format!("the data root {path}{on} is full"))
                .cause(words)
                .hint("free some space on it")
        }
        Some((_, words)) => Problem::new(format!("the data root {path}{on} cannot be written")).cause(words),
    };
    Verdict::Blocked { problem: elsewhere(problem, config, facts) }
}

/// One engine at a time.
pub fn lock(config: &Config, facts: &Facts) -> Verdict {
    let path = path(config, facts);
    match &facts.storage.holder {
        _ if facts.storage.locked => Verdict::satisfied("it is locked for the engine of this place"),
        _ if matches!(config.settings.storage, Some(Medium::Tmpfs(_))) => {
            Verdict::skipped("what is in memory is nobody else's")
        }
        Some(holder) => Verdict::Blocked { problem: in_use(&path, holder) },
        None => {
            let wait = config.settings.lock_timeout;
            Verdict::Needed { actions: vec![Action::LockDataRoot { path, wait }] }
        }
    }
}

/// Another engine is in it.
pub fn in_use(path: &str, holder: &str) -> Problem {
    Problem::new(format!("another engine uses the data root {path}"))
        .cause(format!("it is locked by {holder}"))
        .cause("two engines in one data root destroy it")
        .hint("stop that one first, or give each a volume of its own (in Kubernetes: `volumeClaimTemplates`, no claim for all)")
        .remedy("or a directory of its own", format!("--data-root {path}/NAME"))
        .remedy("or wait longer for it to end", "DOCKERLAUNCH_LOCK_TIMEOUT=2m")
}

/// What the user puts it on.
pub fn medium(config: &Config, facts: &Facts) -> Verdict {
    let (target, seen) = (place(config, facts), &facts.storage);
    let mkdir = (!seen.exists && !seen.locked).then(|| Action::Mkdir { path: target.clone(), mode: 0o710 });
    match &config.settings.storage {
        None => usable(config, facts),
        Some(Medium::Device(device)) => self::device(device, target, mkdir, facts),
        Some(Medium::Tmpfs(_)) if facts.mount_at(&target).is_some_and(|mount| mount.fstype == "tmpfs") => {
            Verdict::satisfied(format!("tmpfs at {target}: what is in it ends with this place"))
        }
        Some(Medium::Tmpfs(size)) => {
            let size = size.as_ref().map(|size| format!("size={size}"));
            let data = size.into_iter().chain(["mode=0710".to_owned()]).collect();
            let mount = Action::Mount { fstype: "tmpfs".into(), target, flags: vec![], data };
            Verdict::Needed { actions: mkdir.into_iter().chain([mount]).collect() }
        }
        Some(Medium::Loop(_)) if seen.on_loop => Verdict::satisfied(format!("a loop device at {target}")),
        Some(Medium::Loop(_)) if facts.process.in_user_namespace => Verdict::Blocked {
            problem: Problem::new("there are no loop devices in a user namespace")
                .remedy("keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs"),
        },
        Some(Medium::Loop(_)) if seen.mke2fs.is_none() && !seen.has_image => Verdict::Blocked {
            problem: Problem::new(format!("there is no mke2fs to make {target}/{IMAGE} with"))
                .remedy("build the image with it", "from-scratch build --with ext4")
                .remedy("or keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs"),
        },
        Some(Medium::Loop(size)) => {
            // Sparse, so that it takes what is used; but never more than there is now.
            let most = || seen.space.map_or(20 << 30, |space| space.free / 10 * 9);
            let size = size.unwrap_or_else(most) >> 20 << 20;
            let mkfs = seen.mke2fs.clone().filter(|_| !seen.has_image);
            Verdict::Needed { actions: vec![Action::MountLoop { target, size, mkfs }] }
        }
    }
}

/// The disk that the user names.
fn device(device: &str, target: String, mkdir: Option<Action>, facts: &Facts) -> Verdict {
    let mount = |fstype: &str, mkfs: Option<String>| {
        let (device, fstype) = (device.to_owned(), fstype.to_owned());
        let mount = Action::MountDevice { device, target: target.clone(), fstype, mkfs };
        Verdict::Needed { actions: mkdir.into_iter().chain([mount]).collect() }
    };
    let in_memory =
        |problem: Problem| problem.remedy("or keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs");
    let problem = match (&facts.storage.device, &facts.storage.mke2fs) {
        (Some(Device::Mounted), _) => return Verdict::satisfied(format!("{device} at {target}")),
        _ if facts.process.in_user_namespace => {
            Problem::new(format!("{device} cannot be mounted in a user namespace"))
        }
        (Some(Device::Holds(fstype)), _) => return mount(fstype, None),
        (Some(Device::Empty), Some(mkfs)) => return mount("ext4", Some(mkfs.clone())),
        (Some(Device::Empty), None) => Problem::new(format!(
            "{device} is empty, and there is no mke2fs to make a file system on it with"
        ))
        .remedy("build the image with it", "from-scratch build --with ext4")
        .remedy("or make one where the disk comes from", "mkfs.ext4 FILE"),
        (Some(Device::Unknown), _) => Problem::new(format!("{device} holds neither ext4 nor xfs"))
            .cause("it is not empty either, so nothing is written to it")
            .remedy("if what is on it may go, make a file system where the disk comes from", "mkfs.ext4 DISK")
            .hint("or name one of its partitions, if it has some"),
        (Some(Device::Unreadable(words)), _) => Problem::new(format!("{device} cannot be had"))
            .cause(words)
            .hint("name a disk that nobody else has mounted, or uses for an engine of theirs"),
        (None, _) if facts.process.is_kernel_init => Problem::new(format!("there is no disk {device}"))
            .hint("see that the machine has it, and that its driver is in the kernel or below /lib/modules"),
        (None, _) => Problem::new(format!("there is no disk {device} here"))
            .remedy("hand it in", format!("docker run --device {device} …")),
    };
    Verdict::Blocked { problem: in_memory(problem) }
}

/// The driver that the user names, and where.
fn chosen<'a>(config: &'a Config, facts: &'a Facts) -> Option<(&'a str, &'static str)> {
    let some = |name: Option<&'a str>| name.filter(|name| !name.is_empty());
    // dockerd's own order (moby daemon/daemon.go, NewDaemon).
    some(config.environment.driver.as_deref())
        .map(|name| (name, "DOCKER_DRIVER"))
        .or_else(|| some(config.engine.option("storage-driver")).map(|name| (name, "--storage-driver")))
        .or_else(|| some(facts.daemon_json.storage_driver.as_deref()).map(|name| (name, "daemon.json")))
}

/// How an engine keeps images.
struct Store {
    /// What it calls an overlay.
    overlay: &'static str,
    /// What it takes where there can be none: it copies.
    copies: Option<&'static str>,
    /// In containerd: what graph drivers have left is not looked for.
    containerd: bool,
}

fn store(config: &Config, facts: &Facts) -> Store {
    const FEATURE: &str = "containerd-snapshotter";
    let on_line = config.engine.option("feature").and_then(|text| text.strip_prefix(FEATURE));
    let feature = on_line.map(|value| !value.starts_with("=f")).or(facts.daemon_json.containerd_snapshotter);
    let by_default = facts.storage.prefers_containerd && facts.storage.prior.is_empty();
    let containerd = feature.unwrap_or(by_default);
    let (overlay, copies) = match (containerd, facts.storage.prefers_containerd) {
        (false, _) => ("overlay2", Some("vfs")),
        (true, true) => ("overlayfs", Some("native")),
        // Engines before that do not choose (moby v28 daemon/daemon.go, `DefaultSnapshotter`).
        (true, false) => ("overlayfs", None),
    };
    Store { overlay, copies, containerd }
}

/// An engine that has been told to use an overlay, or has used one here, starts with no other driver.
fn usable(config: &Config, facts: &Facts) -> Verdict {
    let store = store(config, facts);
    let prior = if store.containerd { &[][..] } else { &facts.storage.prior };
    let why = match chosen(config, facts) {
        Some((name @ ("overlay2" | "overlayfs"), by)) => format!("{by} names `{name}`"),
        Some((name, by)) => return Verdict::skipped(format!("{by} names `{name}`")),
        None if prior.len() > 1 => {
            let problem =
                Problem::new(format!("the data root holds images of several drivers: {}", prior.join(", ")))
                    .cause("dockerd does not choose among them")
                    .remedy("name the one to use", format!("--storage-driver {}", prior[0]));
            return Verdict::Blocked { problem };
        }
        None if prior.first().is_some_and(|name| name == "overlay2") => {
            "the data root holds images of `overlay2`, and dockerd stays with that".to_owned()
        }
        None if store.copies.is_none() => {
            format!("this engine keeps images in containerd, and there with `{}` alone", store.overlay)
        }
        None => return Verdict::skipped("as it is; DOCKERLAUNCH_STORAGE puts it on something else"),
    };
    match &facts.storage.overlay {
        Some(Overlay::Refused(words)) => {
            let problem = refused(config, facts, words).cause(why);
            Verdict::Blocked { problem: elsewhere(problem, config, facts) }
        }
        _ => Verdict::satisfied(why),
    }
}

fn refused(config: &Config, facts: &Facts, words: &str) -> Problem {
    let on = fstype(config, facts).unwrap_or("an unknown file system");
    let path = path(config, facts);
    let problem = Problem::new(format!("no overlay can be mounted in {path}, which is on {on}"));
    let problem = problem.cause(format!("tried: {words}"));
    if on == "overlay" { problem.cause("it is the root of a container, an overlay itself") } else { problem }
}

/// How images are kept.
pub fn driver(config: &Config, facts: &Facts) -> Verdict {
    let copies = store(config, facts).copies.unwrap_or_default();
    match (&facts.storage.overlay, used(config, facts)) {
        (Some(Overlay::Limited(words)), Some("overlay2" | "overlayfs")) => {
            let path = path(config, facts);
            let problem = Problem::new(format!(
                "an overlay in {path} can be mounted, and does not work in full"
            ))
            .cause(format!("tried: {words}"))
            .cause(
                "dockerd takes it all the same; containers that rename or remove files of their image fail",
            );
            Verdict::Blocked { problem: elsewhere(problem, config, facts) }
        }
        (Some(Overlay::Refused(words)), Some(name)) if name == copies && chosen(config, facts).is_none() => {
            let problem = refused(config, facts, words).cause(format!(
                "`{copies}` is used instead, and copies every layer: slow, and a whole image's space for each layer and container"
            ));
            Verdict::Blocked { problem: elsewhere(problem, config, facts) }
        }
        _ => Verdict::satisfied(told(config, facts)),
    }
}

/// The driver that the engine takes, as far as that is known.
fn used<'a>(config: &'a Config, facts: &'a Facts) -> Option<&'a str> {
    let Store { overlay, copies, containerd } = store(config, facts);
    let prior = facts.storage.prior.first().filter(|_| !containerd);
    if let Some((name, _)) = chosen(config, facts) {
        return Some(name);
    }
    Some(match facts.storage.overlay.as_ref()? {
        Overlay::Works | Overlay::Limited(_) => prior.map_or(overlay, String::as_str),
        Overlay::Refused(_) if !containerd && fstype(config, facts) == Some("btrfs") => "btrfs",
        Overlay::Refused(_) => copies.unwrap_or(overlay),
    })
}

/// The driver, what it is on, and where: for the log.
pub fn told(config: &Config, facts: &Facts) -> String {
    let on = fstype(config, facts);
    let name = used(config, facts).unwrap_or("dockerd's choice");
    let cost = if name == "vfs" || name == "native" { " (copies every layer)" } else { "" };
    let on = on.map_or(String::new(), |on| format!(" on {on}"));
    format!("{name}{cost}{on}, in {}", path(config, facts))
}

/// Less than this much free is little.
const LITTLE: u64 = 512 << 20;

/// So is less than a twentieth, up to this much.
const MUCH: u64 = 10 << 30;

/// There is room, and it is not slow.
pub fn room(config: &Config, facts: &Facts) -> Verdict {
    if let Some(Medium::Tmpfs(_)) = &config.settings.storage {
        return Verdict::skipped("memory has its own limit");
    }
    let path = path(config, facts);
    let mut short = Vec::new();
    if let Some(space) = facts.storage.space {
        if space.free < LITTLE || space.free < MUCH.min(space.size / 20) {
            short.push(format!("{} free of {}", bytes(space.free), bytes(space.size)));
        }
        if space.free_inodes < space.inodes / 20 {
            short.push(format!("{} inodes free of {}", space.free_inodes, space.inodes));
        }
    }
    if !short.is_empty() {
        let problem = Problem::new(format!("the data root {path} is nearly full"))
            .cause(short.join(", "))
            .hint("remove what is not needed: `docker system prune --all --volumes`; or make that file system larger");
        return Verdict::Blocked { problem };
    }
    match facts.storage.slow {
        Some(time) => {
            let problem = Problem::new(format!("the disk of the data root {path} is slow"))
                .cause(format!("to make and remove a few directories took {time} ms"))
                .hint("see what else uses that disk; a volume on a local one is faster");
            Verdict::Blocked { problem }
        }
        None => Verdict::satisfied("there is room"),
    }
}

/// Images that come with the system.
pub fn images(config: &Config, facts: &Facts) -> Verdict {
    let names = &facts.storage.preloaded;
    if names.is_empty() {
        return Verdict::skipped(format!("there are none in {PRELOADED}"));
    }
    if !config.supervise {
        let problem = Problem::new(format!("the images in {PRELOADED} are not loaded"))
            .cause("the launcher becomes the engine, so nobody is there to do it")
            .remedy("let the launcher stay: `DOCKER_LAUNCH_REAP=true`", "DOCKER_LAUNCH_REAP=true");
        return Verdict::Blocked { problem };
    }
    Verdict::satisfied(format!("loaded when the engine is ready, unless it has them: {}", names.join(", ")))
}

#[cfg(test)]
mod tests;
