//! An engine as a service container of an outer engine, which is our own under `up`; ours, or the same image's dockerd alone.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use super::Bench;
use super::instance::Instance;
use super::interrupt::{self, DEADLINE, until};
use super::line::seconds;
use crate::process::output;

pub(super) const IMAGE: &str = "docker-from-scratch:bench";

/// What containers are made of.
pub(super) const BOX: &str = "box";

/// An engine with our image in it.
pub(super) struct Outer<'a> {
    pub(super) instance: Instance<'a>,
}

impl<'a> Outer<'a> {
    pub(super) fn start(bench: &'a Bench) -> Result<Self> {
        let instance = Instance::new(bench, "bench-outer")?;
        instance.up()?;
        let archive = instance.exchange().join("image.tar");
        let emit = format!("docker:{}", archive.display());
        output(&mut bench.product(&["build", "--tag", IMAGE, "-o", &emit]))?;
        let outer = Outer { instance };
        outer.docker(&["load", "--quiet", "-i", "/exchange/image.tar"])?;
        fs::remove_file(archive)?;
        Ok(outer)
    }

    pub(super) fn docker(&self, words: &[&str]) -> Result<String> {
        output(&mut self.instance.exec(&[&["docker"], words].concat()))
    }

    pub(super) fn exchange(&self) -> PathBuf {
        self.instance.exchange()
    }
}

/// Whose engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The image as it is: TLS on.
    Ours,
    /// The dockerd in it as entrypoint, with a unix socket alone.
    Bare,
}

/// One service container, removed with its data when it is dropped.
pub(super) struct Engine<'o> {
    pub(super) outer: &'o Outer<'o>,
    pub(super) name: &'static str,
    /// Its socket as the outer engine sees it.
    host: String,
}

impl<'o> Engine<'o> {
    /// Starts it, and tells how long it took from the start, as the outer engine has written it down, to the first answer.
    pub(super) fn start(outer: &'o Outer<'o>, whose: Whose) -> Result<(Self, Duration)> {
        let name = if whose == Whose::Ours { "ours" } else { "bare" };
        let engine = Engine { outer, name, host: format!("unix:///exchange/{name}.sock") };
        let create =
            ["create", "--name", name, "--privileged", "--no-healthcheck", "-v", "/exchange:/exchange"];
        let variable = format!("DOCKER_HOST={}", engine.host);
        let own = match whose {
            Whose::Ours => vec!["-e", &variable, IMAGE],
            Whose::Bare => vec!["--entrypoint", "dockerd", IMAGE, "-H", &engine.host],
        };
        outer.docker(&[&create, &own[..]].concat())?;
        let took = engine.first_answer()?;
        Ok((engine, took))
    }

    fn first_answer(&self) -> Result<Duration> {
        let socket = self.outer.exchange().join(format!("{}.sock", self.name));
        let mut start = self.outer.instance.exec(&["docker", "start", self.name]);
        let mut start = start.stdout(Stdio::null()).spawn()?;
        until("the engine's first answer", Duration::from_millis(1), || {
            // What `docker version` asks.
            Ok(answers(&socket, "/version"))
        })?;
        let now = Timestamp::now();
        ensure!(start.wait()?.success(), "docker start failed");
        let started: Timestamp = self.inspect("{{.State.StartedAt}}")?.parse()?;
        now.duration_since(started).try_into().context("it answered before it was started")
    }

    /// What the outer engine knows of it.
    pub(super) fn inspect(&self, format: &str) -> Result<String> {
        self.outer.docker(&["inspect", "--format", format, self.name])
    }

    /// The client runs beside it, in the outer instance.
    pub(super) fn docker(&self, words: &[&str]) -> Result<String> {
        self.outer.docker(&[&["-H", &self.host], words].concat())
    }

    /// Lines of shell, also beside it, where `d` is this client.
    pub(super) fn shell(&self, script: &str) -> Result<String> {
        let script = format!("set -e; d() {{ docker -H {} \"$@\"; }}; {script}", self.host);
        output(&mut self.outer.instance.exec(&["/exchange/busybox", "sh", "-c", &script]))
    }

    /// Seconds that the client takes.
    pub(super) fn seconds(&self, words: &[&str]) -> Result<f64> {
        seconds(|| self.docker(words).map(drop))
    }

    /// An image of busybox alone.
    pub(super) fn import_box(&self) -> Result<()> {
        self.shell(
            "cd /exchange; b=./busybox; $b mkdir -p root/bin; $b cp busybox root/bin/busybox
            for name in sh true sleep cat; do $b ln -sf busybox root/bin/$name; done
            $b tar -c -C root . | d import - box; $b rm -r root",
        )
        .map(drop)
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        // Then the outer instance goes, with all that is in it.
        if !interrupt::happened()
            && let Err(error) = self.outer.docker(&["rm", "--force", "--volumes", self.name])
        {
            eprintln!("error: the container `{}` was not removed: {error:#}", self.name);
        }
        let _ = fs::remove_file(self.outer.exchange().join(format!("{}.sock", self.name)));
    }
}

/// Does an engine answer there?
pub(super) fn answers(socket: &Path, path: &str) -> bool {
    let ask = || -> Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.contains(" 200 "))
    };
    ask().unwrap_or(false)
}
