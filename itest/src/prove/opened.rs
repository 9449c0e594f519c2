//! Which files of an image are opened or executed, as the kernel tells it (fanotify).
//!
//! Marks are on the files of the unpacked image, which are the lower layer of an instance's root: what is opened through an
//! overlay, in whatever mount namespace, is told of the file below it. So nothing is missed between a start and the mark, and
//! a restart needs no new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

pub(super) struct Watch {
    fanotify: Fanotify,
    /// By device and inode.
    names: BTreeMap<(u64, u64), String>,
}

impl Watch {
    /// Begins. Links are followed by whoever opens them, and cannot be told from what they name.
    pub(super) fn on(root: &Path) -> Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE;
        let fanotify = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)
            .context("fanotify, which tells what is opened")?;
        let mut watch = Watch { fanotify, names: BTreeMap::new() };
        watch.mark(root, root)?;
        Ok(watch)
    }

    /// Whatever lies there, whether somebody knows of it or not.
    fn mark(&mut self, root: &Path, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let (path, found) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if found.is_dir() {
                self.mark(root, &path)?;
            } else if found.is_file() {
                let what = MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC;
                self.fanotify
                    .mark(MarkFlags::FAN_MARK_ADD, what, AT_FDCWD, Some(&path))
                    .with_context(|| format!("watching `{}`", path.display()))?;
                let name = path.strip_prefix(root)?.display().to_string();
                self.names.insert((found.dev(), found.ino()), name);
            }
        }
        Ok(())
    }

    /// What was opened since the last call.
    pub(super) fn opened(&self) -> Result<BTreeSet<String>> {
        let mut opened = BTreeSet::new();
        loop {
            let events = match self.fanotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(opened),
                Err(error) => return Err(error).context("reading what was opened"),
            };
            for event in events {
                let Some(file) = event.fd() else { continue };
                let found = rustix::fs::fstat(file)?;
                opened.extend(self.names.get(&(found.st_dev, found.st_ino)).cloned());
            }
        }
    }
}
