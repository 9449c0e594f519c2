//! A build that has to fetch everything, beside apt fetching the same packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Bench;
use super::image::REBUILD;
use super::line::{Bar, Line, median, seconds, turns};
use crate::process::output;
use crate::provision;

/// A cold build may take this many times what apt takes, and this many seconds more than a warm one may.
const FETCH: f64 = 1.2;
const UNPACK: f64 = 2.0;

/// What is read of a lockfile.
#[derive(Deserialize)]
struct Lock {
    suite: String,
    #[serde(rename = "image")]
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "package")]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// Both into an empty directory each time; apt has its index already, while the build fetches that too.
pub(super) fn cold(bench: &Bench) -> Result<Vec<Line>> {
    let place = bench.built()?.join("cold");
    let file = place.join("image.lock");
    emptied(&place)?;
    output(&mut bench.product(&["lock", "--output", &file.display().to_string()]))?;
    let lock: Lock = toml::from_str(&fs::read_to_string(&file)?)?;
    let image = lock.images.first().context("a lockfile without an image")?;
    let wanted: Vec<String> =
        image.packages.iter().map(|one| format!("{}={}", one.name, one.version)).collect();
    let apt = Apt::new(&place.join("apt"), &lock.suite)?;

    let (cache, layout) = (place.join("cache"), format!("oci:{}", place.join("oci").display()));
    let ours = || {
        emptied(&cache)?;
        let cache = cache.display().to_string();
        let words = ["build", "--compression", "zstd:3", "--cache-dir", &cache, "-o", &layout];
        seconds(|| output(&mut bench.product(&words)).map(drop))
    };
    let theirs = || {
        let packages = place.join("packages");
        emptied(&packages)?;
        let mut download = apt.command(&["download"]);
        let took = seconds(|| output(download.args(&wanted).current_dir(&packages)).map(drop))?;
        let got = fs::read_dir(&packages)?.count();
        ensure!(got == wanted.len(), "apt fetched {got} packages of {}", wanted.len());
        Ok(took)
    };
    let (ours, theirs) = turns(bench.few(), ours, theirs)?;
    let limit = REBUILD + UNPACK + FETCH * median(&theirs);
    Ok(vec![
        Line::new("cold `build -o oci:`, zstd:3", "s", ours)
            .bar(Bar::AtMost((limit * 100.0).round() / 100.0)),
        Line::new("… `apt-get download` of the same packages", "s", theirs),
    ])
}

fn emptied(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(fs::create_dir_all(directory)?)
}

/// Apt with a suite that this machine may not be set up for, and with nothing of its own in common with this machine's.
struct Apt {
    place: PathBuf,
}

impl Apt {
    fn new(place: &Path, suite: &str) -> Result<Self> {
        fs::create_dir_all(place.join("lists/partial"))?;
        let (_, mirror) = provision::own_release()?;
        fs::write(place.join("sources.list"), format!("deb {mirror} {suite} main\n"))?;
        let apt = Apt { place: place.to_owned() };
        output(&mut apt.command(&["update"]))?;
        Ok(apt)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut apt = crate::process::command(&["apt-get", "--quiet"]);
        let at = |name: &str| self.place.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("")),
            // It would leave root for a user who cannot write here.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.args(["--option", &option]);
        }
        apt.args(words);
        apt
    }
}
