//! What is known of each instance, on disk: `STATE/NAME/instance.json` and the files beside it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::name::InstanceName;
use super::process::{ProcessId, boot_id};
use crate::publish::Network;
use crate::report::Hinted;

/// Where everything that `up` keeps lies.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// The directory of one instance.
#[derive(Debug, Clone)]
pub(crate) struct InstanceDir {
    pub(crate) name: InstanceName,
    path: PathBuf,
}

/// What `up` has written down of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: InstanceName,
    /// The `up` that is at work, or was when it was killed; none once Docker has answered.
    pub(crate) starter: Option<ProcessId>,
    /// PID 1 of the instance, as the host sees it.
    pub(crate) process: Option<ProcessId>,
    pub(crate) network: Network,
    /// The process that is the way out.
    pub(crate) pasta: Option<ProcessId>,
    pub(crate) ports: Vec<String>,
    pub(crate) socket: PathBuf,
    pub(crate) image: String,
    pub(crate) rootfs: PathBuf,
    pub(crate) cgroups: Vec<PathBuf>,
    /// Which boot this was: cgroups and mounts are gone after the next one.
    pub(crate) boot: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

/// What has become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Starting,
    Running,
    Dead,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Dead => "dead",
        })
    }
}

/// Held while a command changes an instance. The kernel lets go of it when the command ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl StateDir {
    /// The state directory, which need not exist yet. Made absolute: the instance outlives this directory.
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        let absolute = std::path::absolute(path)
            .with_context(|| format!("cannot use `{}` as state directory", path.display()))?;
        if absolute.to_str().is_none() {
            return Err(Hinted::new(format!("the state directory `{}` is not UTF-8", path.display()))
                .hint("choose another one: `--state-dir DIR`")
                .into());
        }
        // What it says is done as root, so only root may have written it.
        if let Ok(found) = fs::metadata(&absolute)
            && rustix::process::geteuid().is_root()
            && (found.uid() != 0 || found.mode() & 0o022 != 0)
        {
            let path = absolute.display();
            return Err(Hinted::new(format!("others than root can write the state directory `{path}`"))
                .hint(format!("make it root's alone: `chown root {path} && chmod go-w {path}`"))
                .hint("choose another one: `--state-dir DIR`")
                .into());
        }
        Ok(Self { path: absolute })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn instance(&self, name: &InstanceName) -> InstanceDir {
        InstanceDir { name: name.clone(), path: self.path.join(name) }
    }

    /// Every instance that is up, or was when it died, by name.
    pub(crate) fn records(&self) -> anyhow::Result<Vec<Record>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("cannot read `{}`", self.path.display()))?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let Ok(name) = entry?.file_name().to_string_lossy().parse::<InstanceName>() else { continue };
            // One that is damaged must not hide the others, nor stop what is done with them.
            match self.instance(&name).record() {
                Ok(record) => records.extend(record),
                Err(error) => {
                    eprintln!("warning: {error:#}; clear it away: `from-scratch down --name {name}`")
                }
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }
}

impl InstanceDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lower half of the socket's path, which a client on the host connects to.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("docker.sock")
    }

    /// What PID 1 and the engine write.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// `/var/lib/docker` of the instance: all that outlives `down`.
    pub(crate) fn docker_data(&self) -> PathBuf {
        self.path.join("docker")
    }

    pub(crate) fn pasta_pid(&self) -> PathBuf {
        self.path.join("pasta.pid")
    }

    pub(crate) fn pasta_log(&self) -> PathBuf {
        self.path.join("pasta.log")
    }

    fn record_file(&self) -> PathBuf {
        self.path.join("instance.json")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Makes the directory where it is missing, and takes its lock.
    pub(crate) fn create_and_lock(&self) -> anyhow::Result<Lock> {
        // A client on the host passes through on its way to the socket, and anybody may ask `ps`.
        for (path, mode) in [(self.path.parent(), 0o755), (Some(self.path.as_path()), 0o711)] {
            let Some(path) = path else { continue };
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(path)
                .map_err(|error| storage_error("make", &self.path, error))?;
        }
        self.lock()
    }

    /// Takes the lock of an instance that exists.
    pub(crate) fn lock(&self) -> anyhow::Result<Lock> {
        /// What a child of one that was killed may need to let it go, between its start and its exec.
        const PATIENCE: Duration = Duration::from_secs(1);
        let path = self.lock_file();
        let begun = Instant::now();
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| storage_error("open", &path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Hinted::new(format!(
                        "another `up` or `down` of the instance `{}` is under way",
                        self.name
                    ))
                    .hint("wait until it is done; `from-scratch ps` tells")
                    .into());
                }
                Err(TryLockError::Error(error)) => return Err(storage_error("lock", &path, error).into()),
            }
            // Its last holder may have removed the file between our open and our lock.
            if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|held| now.ino() == held.ino()))
            {
                return Ok(Lock { _file: file });
            }
        }
    }

    /// What is written down; none when the instance is not up.
    pub(crate) fn record(&self) -> anyhow::Result<Option<Record>> {
        let path = self.record_file();
        let text = match fs::read(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let record = serde_json::from_slice(&text).map_err(|error| {
            Hinted::new(format!("`{}` is damaged", path.display())).because(error).hint(format!(
                "end what runs under that name and clear it away: `from-scratch down --name {}`",
                self.name
            ))
        })?;
        Ok(Some(record))
    }

    /// Writes it down; a reader sees the old or the new one, never half of it.
    pub(crate) fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        let (path, new) = (self.record_file(), self.path.join("instance.json.new"));
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| storage_error("write", &path, error))?;
        Ok(())
    }

    /// Makes the directories of the overlay and the data. Their modes are seen inside as those of `/` and
    /// `/var/lib/docker`, so the caller's umask must not matter.
    pub(crate) fn make_dirs(&self) -> anyhow::Result<()> {
        for (dir, mode) in [
            // Not for others on the host to look into, whatever the modes are inside.
            ("overlay", 0o700),
            ("overlay/upper", 0o755),
            ("overlay/work", 0o700),
            ("root", 0o700),
            ("docker", 0o710),
        ] {
            let path = self.path.join(dir);
            let made = match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode))),
            };
            made.map_err(|error| storage_error("make", &path, error))?;
        }
        Ok(())
    }

    /// Removes all that one run of the instance leaves, but neither the data nor the lock.
    pub(crate) fn clear_run(&self) -> anyhow::Result<()> {
        for dir in ["overlay", "root"] {
            remove(&self.path.join(dir), |path| fs::remove_dir_all(path))?;
        }
        let files = [
            self.socket(),
            self.pasta_pid(),
            self.pasta_log(),
            self.path.join("instance.json.new"),
            self.log(),
            // The last, as this is what `ps` and the next `up` go by.
            self.record_file(),
        ];
        for file in files {
            remove(&file, |path| fs::remove_file(path))?;
        }
        Ok(())
    }

    /// Removes the data too, or the data directory if nothing is in it.
    pub(crate) fn clear_data(&self, with_content: bool) -> anyhow::Result<()> {
        let data = self.docker_data();
        if with_content {
            return remove(&data, |path| fs::remove_dir_all(path));
        }
        // Full of images and containers: kept.
        let _ = fs::remove_dir(&data);
        Ok(())
    }

    /// Removes the directory, if nothing but the lock is left in it. The lock goes first: see `lock`.
    pub(crate) fn remove_if_empty(&self, lock: Lock) {
        let only_lock = fs::read_dir(&self.path)
            .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == "lock"));
        if only_lock {
            let _ = fs::remove_file(self.lock_file());
            let _ = fs::remove_dir(&self.path);
        }
        drop(lock);
    }
}

impl Record {
    /// What has become of it, as the kernel knows, not as was written down.
    pub(crate) fn status(&self) -> Status {
        let alive = |process: &Option<ProcessId>| process.as_ref().is_some_and(ProcessId::is_alive);
        if alive(&self.starter) {
            Status::Starting
        } else if alive(&self.process) {
            Status::Running
        } else {
            Status::Dead
        }
    }

    /// Whether it was started since the machine was.
    pub(crate) fn of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A failure to write below the state directory, with what helps against it.
pub(crate) fn storage_error(what: &str, path: &Path, error: io::Error) -> Hinted {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on that file system, or put the state elsewhere with `--state-dir DIR`"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a place that can be written: `--state-dir DIR`",
        io::ErrorKind::PermissionDenied => {
            "run as root, or choose a place that can be written: `--state-dir DIR`"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in the way: choose a directory with `--state-dir DIR`"
        }
        _ => "look at the file system below it, or put the state elsewhere with `--state-dir DIR`",
    };
    Hinted::new(format!("cannot {what} `{}`", path.display())).because(error).hint(hint)
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> anyhow::Result<()> {
    match how(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.map_err(|error| storage_error("remove", path, error))?),
    }
}
