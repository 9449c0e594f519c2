//! What people do with Docker all day, in two engines side by side.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use super::engine::{BOX, Engine, Outer, Whose};
use super::interrupt::until;
use super::line::{Line, turns};
use crate::process::{command, output};
use crate::provision;

/// MB of the images that are loaded and pulled.
const LOADED: usize = 500;
const PULLED: usize = 100;

/// Ours and the bare one, with the same image in them.
fn both<'o>(outer: &'o Outer<'o>) -> Result<[Engine<'o>; 2]> {
    let start = |whose| -> Result<_> {
        let (engine, _) = Engine::start(outer, whose)?;
        engine.import_box()?;
        Ok(engine)
    };
    Ok([start(Whose::Ours)?, start(Whose::Bare)?])
}

/// The same work in both, and what undoes it, which is not timed. The first time is not counted: it reads from the disk.
fn compare(
    bench: &Bench,
    [ours, bare]: &[Engine<'_>; 2],
    words: &[&str],
    undo: &[&str],
) -> Result<(Vec<f64>, Vec<f64>)> {
    let once = |engine: &Engine<'_>| {
        let took = engine.seconds(words)?;
        if !undo.is_empty() {
            engine.docker(undo)?;
        }
        Ok(took)
    };
    once(ours)?;
    once(bare)?;
    turns(bench.rounds, || once(ours), || once(bare))
}

pub(super) fn run(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    let (ours, bare) = compare(bench, &both(outer)?, &["run", "--rm", BOX, "true"], &[])?;
    let milliseconds = |times: Vec<f64>| times.into_iter().map(|time| time * 1e3).collect();
    Ok(vec![Line::new("`docker run --rm`", "ms", milliseconds(ours)).beside(milliseconds(bare))])
}

pub(super) fn load(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    let engines = both(outer)?;
    image(outer, &engines[0], LOADED)?;
    engines[0].docker(&["save", "-o", "/exchange/big.tar", "big"])?;
    engines[0].docker(&["rmi", "big"])?;
    let words = ["load", "--quiet", "-i", "/exchange/big.tar"];
    let (ours, bare) = compare(bench, &engines, &words, &["rmi", "big"])?;
    fs::remove_file(outer.exchange().join("big.tar"))?;
    Ok(vec![Line::new(format!("`docker load` of {LOADED} MB"), "s", ours).beside(bare)])
}

const REGISTRY: &str = "\
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: /exchange/store } }
http: { addr: 127.0.0.1:5000 }
";

/// The image has its C library where only its own programs look for it.
const LOADER: [&str; 4] =
    ["/usr/lib/dockerlaunch/ld", "--library-path", "/usr/lib/dockerlaunch/lib", "/exchange/registry"];

/// Each engine has a registry on its own loopback; what they serve is the same directory.
pub(super) fn pull(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    const NAME: &str = "127.0.0.1:5000/big";
    let exchange = outer.exchange();
    fs::copy(provision::registry(), exchange.join("registry"))?;
    fs::write(exchange.join("registry.yml"), REGISTRY)?;
    let engines = both(outer)?;
    for engine in &engines {
        let serve =
            [&["exec", "-d", engine.name], &LOADER[..], &["serve", "/exchange/registry.yml"]].concat();
        outer.docker(&serve)?;
        let ask = ["/exchange/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5000/v2/"];
        let ask = [&["docker", "exec", engine.name], &ask[..]].concat();
        until("the registry's answer", Duration::from_millis(50), || {
            Ok(outer.instance.exec(&ask).output()?.status.success())
        })?;
    }
    image(outer, &engines[0], PULLED)?;
    engines[0].docker(&["tag", "big", NAME])?;
    engines[0].docker(&["push", "--quiet", NAME])?;
    engines[0].docker(&["rmi", NAME, "big"])?;
    let (ours, bare) = compare(bench, &engines, &["pull", "--quiet", NAME], &["rmi", NAME])?;
    drop(engines);
    fs::remove_dir_all(exchange.join("store"))?;
    let what = format!("`docker pull` of {PULLED} MB over loopback");
    Ok(vec![Line::new(what, "s", ours).beside(bare)])
}

const DOCKERFILE: &str = "\
FROM box
COPY data /data
RUN cat /data > /one
RUN cat /data /one > /two
RUN cat /one /two > /three
ENV BUILT=true
";

/// With the classic builder, since the image has no BuildKit client.
pub(super) fn build(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    let engines = both(outer)?;
    let context = outer.exchange().join("context");
    fs::create_dir_all(&context)?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    write_noise(&context.join("data"), 1)?;
    let words = ["build", "--quiet", "--no-cache", "-t", "built", "/exchange/context"];
    let (ours, bare) = compare(bench, &engines, &words, &["rmi", "built"])?;
    Ok(vec![Line::new("`docker build`, one COPY and three RUN", "s", ours).beside(bare)])
}

/// Makes the image `big` of so many files of 1 MB.
fn image(outer: &Outer<'_>, engine: &Engine<'_>, megabytes: usize) -> Result<()> {
    let exchange = outer.exchange();
    let files = exchange.join("files");
    fs::create_dir_all(&files)?;
    for number in 1..=megabytes {
        write_noise(&files.join(number.to_string()), number as u64)?;
    }
    let archive = exchange.join("files.tar");
    output(command(&["tar", "--create", "--file"]).arg(&archive).arg("--directory").arg(&files).arg("."))?;
    fs::remove_dir_all(files)?;
    engine.docker(&["import", "/exchange/files.tar", "big"])?;
    fs::remove_file(archive).map_err(Into::into)
}

/// 1 MB that packs to three quarters, and differs with the seed.
fn write_noise(path: &Path, seed: u64) -> Result<()> {
    let mut state = seed;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 & 0x3f
    };
    let bytes: Vec<u8> = (0..1_000_000).map(|_| next()).collect();
    fs::write(path, bytes).with_context(|| format!("writing `{}`", path.display()))
}
