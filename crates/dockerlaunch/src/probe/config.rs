//! What the engine is configured with: its file, and the certificates that it shall trust.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;

use dockerlaunch_plan::Config;
use dockerlaunch_plan::facts::certificates::{self, BUNDLE, DIRECTORIES, ExtraCa, SYSTEM_BUNDLES, Source};
use dockerlaunch_plan::facts::{ConfigFile, MERGED_CONFIG, PRIVATE};
use dockerlaunch_plan::rules::daemon_json;

use super::Probe;

impl Probe {
    /// The engine's configuration file and the one that we have merged from it.
    pub fn config_file(&self, config: &Config) -> ConfigFile {
        let path = daemon_json::path(config).to_owned();
        let place = self.path(&path);
        let read = match fs::metadata(&place) {
            // It would wait for whoever writes into it, and it is not read only once.
            Ok(meta) if meta.file_type().is_fifo() => Err(io::Error::other("it is a pipe, not a file")),
            _ => fs::read(place),
        };
        let (content, error) = match read {
            Ok(bytes) => match ConfigFile::decode(&bytes) {
                Ok(text) => (Some(text), None),
                Err(error) => (None, Some(error.to_owned())),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                (None, None)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        ConfigFile { path, content, error, merged: self.read(MERGED_CONFIG) }
    }

    /// CA certificates that somebody has asked for or put where they are looked for.
    pub(super) fn extra_ca(&self, config: &Config) -> ExtraCa {
        let mut found: Vec<(Source, String)> = Vec::new();
        let asked = config.environment.extra_ca.as_deref().unwrap_or_default();
        let is_text = certificates::is_pem(asked);
        if !is_text {
            for path in asked.split(':').map(str::trim).filter(|path| !path.is_empty()) {
                self.certificates(path, true, &["crt", "pem"], &mut found);
            }
        }
        for directory in DIRECTORIES.iter().filter(|directory| self.path(directory).is_dir()) {
            self.certificates(directory, false, &["crt"], &mut found);
        }
        // Behind the files, as the bundle will have it.
        if is_text {
            let error = certificates::parse(asked).err().map(str::to_owned);
            found.push((Source { path: None, asked: true, error }, asked.to_owned()));
        }
        if found.is_empty() {
            return ExtraCa::default();
        }
        let private = format!("{PRIVATE}/etc/ssl/certs/ca-certificates.crt");
        let places = config.environment.cert_file.iter().map(String::as_str).filter(|path| *path != BUNDLE);
        let system = places
            .chain(SYSTEM_BUNDLES.iter().copied())
            .chain([private.as_str()])
            .find(|path| self.path(path).is_file());
        let before = system.and_then(|path| self.read(path)).unwrap_or_default();
        let good =
            || found.iter().filter(|(source, _)| source.error.is_none()).map(|(_, text)| text.as_str());
        let wanted = certificates::bundle(std::iter::once(before.as_str()).chain(good()));
        ExtraCa {
            system: system.map(str::to_owned),
            known: good().all(|text| certificates::contains(&before, text)),
            bundled: self.read(BUNDLE).is_some_and(|text| text == wanted),
            sources: found.into_iter().map(|(source, _)| source).collect(),
        }
    }

    /// The certificates in a file, or in the files of a directory and those below it.
    fn certificates(&self, path: &str, asked: bool, endings: &[&str], found: &mut Vec<(Source, String)>) {
        let mut files = Vec::new();
        let mut folders = Vec::new();
        if self.path(path).is_dir() {
            folders.push(path.to_owned())
        } else {
            files.push(path.to_owned())
        }
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.path(&folder)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                // Kubernetes keeps what its links lead to in hidden directories beside them.
                if name.starts_with('.') {
                    continue;
                }
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                match fs::metadata(entry.path()) {
                    Ok(meta) if meta.is_dir() && !entry.path().is_symlink() => folders.push(path),
                    Ok(meta) if meta.is_dir() => {}
                    _ if name.rsplit_once('.').is_some_and(|(_, end)| endings.contains(&end)) => {
                        files.push(path)
                    }
                    _ => {}
                }
            }
        }
        files.sort();
        if files.is_empty() && asked {
            let error = Some("there is no `*.crt` and no `*.pem` in it".to_owned());
            found.push((Source { path: Some(path.to_owned()), asked, error }, String::new()));
        }
        for path in files {
            let read = fs::read(self.path(&path)).map_err(|error| error.to_string());
            let text = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let error = match &text {
                Ok(text) => certificates::parse(text).err().map(str::to_owned),
                Err(error) => Some(error.clone()),
            };
            found.push((Source { path: Some(path), asked, error }, text.unwrap_or_default()));
        }
    }
}
