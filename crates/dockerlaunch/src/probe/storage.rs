//! What carries the data root. A disk that hangs must not hang us, so all of it happens in a thread of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dockerlaunch_plan::Config;
use dockerlaunch_plan::config::settings::Medium;
use dockerlaunch_plan::facts::storage::{
    Device, GRAPH_DRIVERS, IMAGE, LOCK, Overlay, PATIENCE, PATIENCE_OF_A_LAUNCH, PRELOADED, Space, Storage,
    TOLD_BY,
};
use dockerlaunch_plan::facts::{PRIVATE, Process, dockerd_flags};
use nix::sched::CloneFlags;
use rand_core::{OsRng, RngCore};
use rustix::fs::{AtFlags, statvfs, unlinkat};
use rustix::mount::{MountFlags, mount};

use super::Probe;
use super::trial::{self, Trial};
use crate::say::say;
use crate::{lock, module};

/// How long a disk may take to be found.
const APPEARS: Duration = Duration::from_secs(5);

/// What takes longer is told.
const SLOW: Duration = Duration::from_secs(1);

/// What the name of a directory begins with in which an overlay is tried.
const TRIAL: &str = ".dockerlaunch-trial-";

/// No trial takes that long.
const OLD: Duration = Duration::from_secs(3600);

/// Major number of loop devices (kernel Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u32 = 7;

/// There was no answer within the limit.
static STUCK: AtomicBool = AtomicBool::new(false);

/// What has been tried once stays so for this device, in this process.
static TRIED: Mutex<Option<(u64, Tried)>> = Mutex::new(None);

#[derive(Clone)]
struct Tried {
    overlay: Option<Overlay>,
    unwritable: Option<(i32, String)>,
    slow: Option<u64>,
}

impl Probe {
    /// Begins to look, in a thread, while other facts are read. Of the real system only: a fixture says what it wants.
    pub(super) fn begin_storage(
        &self,
        config: &Config,
        data_root: &str,
        process: &Process,
    ) -> Option<io::Result<Trial<Storage>>> {
        let user_namespace = process.in_user_namespace;
        let path = PathBuf::from(data_root);
        let (looking, may_try) = (config.only_looking, !config.only_reading);
        let device = match &config.settings.storage {
            Some(Medium::Device(device)) => Some(PathBuf::from(device)),
            _ => None,
        };
        // The second look of the kernel's init: its first one is before there is a /dev.
        let is_machines = process.is_kernel_init && config.hooks_have_run && !looking;
        let patience = if is_machines { APPEARS } else { Duration::ZERO };
        let look = move || {
            // Before an overlay is tried, which covers the place for this thread.
            let device = device.and_then(|device| on_device(&device, &path, patience));
            Storage { device, ..look(&path, user_namespace, looking, may_try) }
        };
        // What hung once is not waited for again.
        let is_asked = self.root == Path::new("/") && !STUCK.load(Ordering::Relaxed);
        is_asked.then(|| trial::begin(CloneFlags::CLONE_NEWNS, look))
    }

    /// What it gave.
    pub(super) fn storage(
        &self,
        config: &Config,
        data_root: &str,
        begun: Option<io::Result<Trial<Storage>>>,
    ) -> Storage {
        if self.root != Path::new("/") {
            return Storage::default();
        }
        let stuck = || Storage { stuck: true, ..Storage::default() };
        let mut seen = match begun {
            None => stuck(),
            Some(begun) => match begun.and_then(|trial| answer(&trial, config.only_looking, data_root)) {
                Ok(seen) => seen,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    STUCK.store(true, Ordering::Relaxed);
                    stuck()
                }
                Err(_) => Storage::default(),
            },
        };
        let mkfs = [PRIVATE.to_owned() + "/bin"].into_iter().chain(config.path.iter().cloned());
        if config.settings.storage.is_some() {
            seen.mke2fs = mkfs.map(|dir| dir + "/mke2fs").find(|path| Path::new(path).exists());
        }
        // The newest flag that came with the release that turned to containerd.
        seen.prefers_containerd =
            self.read(dockerd_flags::LIST).is_some_and(|list| list.contains("bridge-accept-fwmark"));
        let archives = fs::read_dir(PRELOADED).into_iter().flatten().flatten();
        seen.preloaded = archives.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        seen.preloaded.retain(|name| name.ends_with(".tar"));
        seen.preloaded.sort();
        seen
    }
}

/// A launch waits for a disk that is busy, and says so; who only looks wants to know it soon.
fn answer(trial: &Trial<Storage>, looking: bool, data_root: &str) -> io::Result<Storage> {
    match trial.answer(PATIENCE) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut && !looking => {
            say!(
                Info["storage"],
                "waiting for the disk of {data_root}: it has not answered within {} s",
                PATIENCE.as_secs()
            );
            trial.answer(PATIENCE_OF_A_LAUNCH - PATIENCE)
        }
        answer => answer,
    }
}

/// What is on a device, which a bus may be slow to find.
fn on_device(device: &Path, data_root: &Path, patience: Duration) -> Option<Device> {
    let start = Instant::now();
    while !device.exists() && start.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(20));
        // That of a disk may be wanted only when its bus has been looked through.
        module::load_drivers();
    }
    let meta = fs::metadata(device).ok()?;
    if fs::metadata(data_root).is_ok_and(|root| root.dev() == meta.rdev()) {
        return Some(Device::Mounted);
    }
    if !meta.file_type().is_block_device() {
        return Some(Device::Unreadable("it is no block device".to_owned()));
    }
    Some(ends(device).unwrap_or_else(|error| Device::Unreadable(error.to_string())))
}

/// Nobody else may have it: two kernels' caches, or two engines, on one disk destroy it (open(2), `O_EXCL` of a block device).
fn ends(device: &Path) -> io::Result<Device> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    let mut part = |from| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        (&file).take(TOLD_BY).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    let beginning = part(0)?;
    let end = part(size.saturating_sub(TOLD_BY))?;
    Ok(Device::of(&beginning, &end))
}

fn look(data_root: &Path, user_namespace: bool, looking: bool, may_try: bool) -> Storage {
    let start = Instant::now();
    let Some(place) = data_root.ancestors().find_map(|path| path.canonicalize().ok()) else {
        return Storage::default();
    };
    let exists = data_root.exists();
    let device = fs::metadata(&place).map_or(0, |meta| meta.dev());
    let fs = statvfs(&place).ok();
    let is_full = fs.as_ref().is_some_and(|fs| fs.f_blocks > 0 && fs.f_bfree == 0);
    let space = fs.map(|fs| Space {
        size: fs.f_blocks.saturating_mul(fs.f_frsize),
        free: fs.f_bavail.saturating_mul(fs.f_frsize),
        inodes: fs.f_files,
        free_inodes: fs.f_favail,
    });
    // Before anything is mounted over it.
    let has_something =
        |name: &&&str| fs::read_dir(place.join(name)).is_ok_and(|mut dir| dir.next().is_some());
    let prior = GRAPH_DRIVERS.iter().filter(has_something).map(|name| (*name).to_owned());
    let mut seen = Storage {
        exists,
        space,
        prior: if exists { prior.collect() } else { Vec::new() },
        on_loop: exists && is_our_loop(&place, device),
        has_image: exists && place.join(IMAGE).exists(),
        ..Storage::default()
    };
    if looking && exists {
        match lock::look(&place.join(LOCK)) {
            Some(holder) if holder.is_of_this_place() => seen.locked = true,
            Some(holder) => seen.holder = Some(holder.to_string()),
            None => {}
        }
    }
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = match &*tried {
        Some((of, known)) if *of == device => known.clone(),
        _ if !may_try => Tried { overlay: None, unwritable: None, slow: None },
        _ => {
            if !looking {
                sweep(&place);
            }
            let (overlay, unwritable) = match try_overlay(&place, user_namespace) {
                Ok(()) => (Some(Overlay::Works), None),
                Err(Failed::Use(error)) => (Some(Overlay::Limited(error.to_string())), None),
                Err(Failed::Prepare(error)) => {
                    (None, Some((error.raw_os_error().unwrap_or(0), error.to_string())))
                }
                // Its module may not be loaded yet.
                Err(Failed::Overlay(error))
                    if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) =>
                {
                    (None, None)
                }
                Err(Failed::Overlay(error)) => (Some(Overlay::Refused(error.to_string())), None),
            };
            let took = start.elapsed();
            let slow = (took > SLOW).then(|| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            // Directories may still fit where nothing else does.
            let full =
                || is_full.then(|| (libc::ENOSPC, io::Error::from_raw_os_error(libc::ENOSPC).to_string()));
            let now = Tried { overlay, unwritable: unwritable.or_else(full), slow };
            *tried = now.overlay.is_some().then(|| (device, now.clone()));
            now
        }
    };
    (seen.overlay, seen.unwritable, seen.slow) = (now.overlay, now.unwritable, now.slow);
    seen.place = place.to_string_lossy().into_owned();
    seen
}

/// Whether our image is mounted exactly there: the data root of somebody who has everything on a loop device is not on ours.
fn is_our_loop(place: &Path, device: u64) -> bool {
    let number = rustix::fs::minor(device);
    let above = place.parent().and_then(|above| fs::metadata(above).ok());
    rustix::fs::major(device) == LOOP_MAJOR
        && above.is_some_and(|above| above.dev() != device)
        && fs::read_to_string(format!("/sys/dev/block/{LOOP_MAJOR}:{number}/loop/backing_file"))
            .is_ok_and(|file| Path::new(file.trim_end()) == place.join(IMAGE))
}

/// Removes what a launch that was killed meanwhile has left; not what another one uses at this moment.
fn sweep(place: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        entry.file_name().to_string_lossy().starts_with(TRIAL) && age.is_some_and(|age| age > OLD)
    };
    for entry in fs::read_dir(place).into_iter().flatten().flatten().filter(is_old) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

enum Failed {
    Prepare(io::Error),
    Overlay(io::Error),
    Use(io::Error),
}

/// Mounts an overlay as dockerd does (moby daemon/graphdriver/overlayutils), and lets it do what layers need: a rename, which
/// copies up, and a removal, which leaves a whiteout.
fn try_overlay(place: &Path, user_namespace: bool) -> Result<(), Failed> {
    let name = format!("{TRIAL}{:016x}", OsRng.next_u64());
    let directory = place.join(&name);
    // By this one finds what the mount then covers.
    let below = File::open(place).map_err(Failed::Prepare)?;
    fs::create_dir(&directory).map_err(Failed::Prepare)?;
    // Over the place itself, for this thread alone: an unmount would wait for other processors, up to many milliseconds, and
    // so does nobody for the end of the thread, with which the mount goes.
    let over = if place == Path::new("/") { Path::new("/usr") } else { place };
    // The thread has a working directory of its own (unshare(2), CLONE_NEWNS implies CLONE_FS). Short names: no character of
    // the path can be taken for a separator.
    let result = match rustix::process::chdir(&directory) {
        Err(error) => Err(Failed::Prepare(error.into())),
        Ok(()) => {
            let result = prepare()
                .map_err(Failed::Prepare)
                .and_then(|()| mount_overlay(over, user_namespace).map_err(Failed::Overlay))
                .and_then(|()| use_overlay(over).map_err(Failed::Use));
            MADE.iter().for_each(|made| drop(fs::remove_dir_all(made)));
            result
        }
    };
    let _ = unlinkat(&below, &name, AtFlags::REMOVEDIR);
    result
}

const MADE: [&str; 4] = ["one", "two", "upper", "work"];

fn prepare() -> io::Result<()> {
    MADE.into_iter().try_for_each(fs::create_dir)?;
    ["one/a", "two/b"].into_iter().try_for_each(|file| File::create(file).map(drop))
}

fn mount_overlay(over: &Path, user_namespace: bool) -> io::Result<()> {
    let data = if user_namespace {
        c"lowerdir=one:two,upperdir=upper,workdir=work,userxattr"
    } else {
        c"lowerdir=one:two,upperdir=upper,workdir=work"
    };
    Ok(mount("overlay", over, "overlay", MountFlags::empty(), Some(data))?)
}

fn use_overlay(over: &Path) -> io::Result<()> {
    fs::rename(over.join("a"), over.join("c"))?;
    fs::remove_file(over.join("b"))?;
    match ["a", "b", "c"].map(|name| over.join(name).exists()) {
        [false, false, true] => Ok(()),
        _ => Err(io::Error::other("a file that was removed or renamed is still there")),
    }
}
