//! Certificates, keys, and what a certificate of this machine must be good for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use dockerlaunch_plan::Config;
use dockerlaunch_plan::config::argv::given;
use dockerlaunch_plan::facts::tls::{File, Tls, host_names, parse_certificates, parse_key};
use dockerlaunch_plan::facts::{DaemonJson, PRIVATE};
use dockerlaunch_plan::rules::listeners::DEFAULT_GROUP;

use super::Probe;

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
            let file = match fs::read(self.path(&path)) {
                Ok(content) if content.is_empty() => continue,
                Ok(content) if path.ends_with("/key.pem") => {
                    parse_key(&content).map_or_else(File::Broken, |key| File::Key(key.fact()))
                }
                Ok(content) => parse_certificates(&content).map_or_else(File::Broken, File::Certificates),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => File::Broken(format!("cannot read it: {error}")),
            };
            files.insert(path, file);
        }
        let kernel = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Tls {
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
