//! Certificates, keys, and what a certificate of this machine must be good for.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dockerlaunch_plan::Config;
use dockerlaunch_plan::config::argv::given;
use dockerlaunch_plan::facts::tls::{CLIENT_KEY, File, Tls, host_names, parse_certificates, parse_key};
use dockerlaunch_plan::facts::{DaemonJson, PRIVATE};
use dockerlaunch_plan::rules::listeners::DEFAULT_GROUP;

use super::Probe;

/// No bundle of certificates is longer.
const LONGEST: u64 = 1024 * 1024;

/// A file as it was: device, inode, size, and when it was changed.
type Version = (u64, u64, u64, i64, i64);

/// What was read before. To find the public half of a key takes most of a millisecond, and a launch looks three times.
static READ: Mutex<BTreeMap<PathBuf, (Version, File)>> = Mutex::new(BTreeMap::new());

/// What a regular file holds; `None` when that is nothing. Clients may write where theirs are kept, and nothing there must make us
/// wait.
fn read(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if about.len() > LONGEST {
        return Err(io::Error::other("it is longer than a megabyte"));
    }
    let version = (about.dev(), about.ino(), about.len(), about.ctime(), about.ctime_nsec());
    let mut known = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, same)) = known.get(path).filter(|(read, _)| *read == version) {
        return Ok(Some(same.clone()));
    }
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content)?;
    if content.is_empty() {
        return Ok(None);
    }
    let parsed = if path.ends_with("key.pem") {
        parse_key(&content).map_or_else(File::Broken, |key| File::Key(key.fact()))
    } else {
        parse_certificates(&content).map_or_else(File::Broken, File::Certificates)
    };
    known.insert(path.to_owned(), (version, parsed.clone()));
    Ok(Some(parsed))
}

fn mode(path: &Path) -> Option<u32> {
    let about = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(about.mode() & 0o7777)
}

impl Probe {
    /// Files of the TLS directory, this machine's names and addresses, and the time.
    pub(super) fn tls(&self, config: &Config) -> Tls {
        let Some(directory) = config.tls.directory.as_ref().filter(|_| config.engine.default_listeners)
        else {
            return Tls::default();
        };
        let mut files = BTreeMap::new();
        for path in ["ca", "server", "client"]
            .iter()
            .flat_map(|folder| ["ca", "cert", "key"].map(|name| format!("{directory}/{folder}/{name}.pem")))
        {
            let file = match read(&self.path(&path)) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => File::Broken(format!("cannot read it: {error}")),
            };
            files.insert(path, file);
        }
        let kernel = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Tls {
            client_key_mode: mode(&self.path(&format!("{directory}/{CLIENT_KEY}"))),
            files,
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            host_names: host_names(&kernel, &self.read("/etc/hosts").unwrap_or_default()),
        }
    }

    /// Numbers of the groups that may be asked for, by `/etc/group` (group(5)), or by the one that is copied there.
    pub(super) fn groups(&self, config: &Config, daemon_json: &DaemonJson) -> BTreeMap<String, u32> {
        let text = self.read("/etc/group").or_else(|| self.read(&format!("{PRIVATE}/etc/group")));
        let options = given(&config.engine.args);
        let named = options.iter().filter(|option| option.name == "group").filter_map(|option| option.value);
        let wanted: Vec<&str> = named
            .chain(config.settings.socket_group.as_deref())
            .chain(daemon_json.group.as_deref())
            .chain([DEFAULT_GROUP])
            .collect();
        let group = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| wanted.contains(name))?;
            Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
        };
        text.unwrap_or_default().lines().filter_map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_put_there_makes_nobody_wait() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("cert.pem");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("fifo");
        assert!(read(&path).expect_err("a fifo").to_string().contains("regular"));
        assert_eq!(mode(&path), None);
        std::fs::remove_file(&path).expect("remove");
        std::fs::File::create(&path).and_then(|file| file.set_len(LONGEST + 1)).expect("long");
        assert!(read(&path).expect_err("too long").to_string().contains("megabyte"));
    }

    #[test]
    fn a_file_that_has_changed_is_read_anew() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("key.pem");
        for (content, what) in [("no key", true), ("", false), ("nor this one", true)] {
            std::fs::write(&path, content).expect("write");
            let read = || matches!(read(&path), Ok(Some(File::Broken(_))));
            assert_eq!((read(), read()), (what, what), "{content}");
        }
    }
}
