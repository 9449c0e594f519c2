//! What clients do that lasts long enough for something to go wrong in its middle.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::acknowledged;
use super::client::Client;
use super::registry::{self, Registry};
use crate::Environment;
use crate::command::{Outcome, eventually};
use crate::image::BOX;
use crate::up::Instance;

/// Something that a client does.
pub(crate) struct Operation {
    /// Begins it; returns when it is under way.
    pub(crate) begin: fn(&Instance) -> Result<Underway>,
    /// Lets one that was not interrupted come to its end.
    finish: fn(&Instance, Underway) -> Result<Outcome>,
    /// Looks at what an interrupted one has left, and does the same again.
    pub(crate) again: fn(&Instance) -> Result<()>,
    /// Uses what one has made whose client was told of a success.
    uses: fn(&Instance) -> Result<()>,
}

impl Operation {
    /// One that was not interrupted succeeds, and what it has made is there.
    pub(crate) fn succeeds(&self, instance: &Instance, underway: Underway) -> Result<()> {
        (self.finish)(instance, underway)?.exits(0)?;
        (self.uses)(instance).context("its client took it for a success, and what it has made is not there")
    }
}

/// An operation that has begun.
pub(crate) struct Underway {
    pub(crate) client: Client,
    /// Where it gets from what it wants.
    pub(crate) registry: Option<Registry>,
}

impl From<Client> for Underway {
    fn from(client: Client) -> Self {
        Self { client, registry: None }
    }
}

const IMAGE: &str = "large:1";

/// Of its layer.
const MEGABYTES: usize = 24;

fn large_image() -> Result<Vec<u8>> {
    acknowledged::large_image(IMAGE, MEGABYTES)
}

pub(crate) const LOAD: Operation = Operation {
    begin: |instance| {
        let mut client = Client::docker(instance, &["load"])?;
        let archive = large_image()?;
        client.write(archive[..archive.len() / 2].to_vec())?;
        Ok(client.into())
    },
    finish: |_, Underway { mut client, .. }| {
        let archive = large_image()?;
        client.write(archive[archive.len() / 2..].to_vec())?;
        client.ends()
    },
    again: |instance| {
        let env: &dyn Environment = instance;
        acknowledged::nothing_half_made(env, IMAGE)?;
        env.docker_with_input(&["load"], &large_image()?)?.success()?;
        (LOAD.uses)(instance)
    },
    uses: |instance| runs(instance, IMAGE),
};

/// The large image is there, with all of its layer.
fn runs(env: &dyn Environment, image: &str) -> Result<()> {
    let count = env.docker(&["run", "--rm", image, "/bin/busybox", "stat", "-c", "%s", "/noise"])?;
    ensure!(count == (MEGABYTES << 20).to_string(), "its file has {count} bytes");
    Ok(())
}

/// A step that lasts until the test has seen it.
fn build(instance: &Instance) -> Result<Client> {
    let mut client = Client::docker(instance, &["build", "-t", "built", "-"])?;
    let step = "until [ -e /goes-on ]; do sleep 0.2; done";
    client.write(format!("FROM {BOX}\nRUN echo one > /one\nRUN {step}\n").into_bytes())?;
    client.end_input();
    Ok(client)
}

/// The container of the step that lasts.
fn step(env: &dyn Environment) -> Result<String> {
    let mut found = String::new();
    eventually("the build is at its second step", Duration::from_secs(60), || {
        let running = env.docker(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Command}}"])?;
        let line = running.lines().find(|line| line.contains("goes-on"));
        found = line.and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        Ok(!found.is_empty())
    })?;
    Ok(found)
}

fn let_the_build_go_on(instance: &Instance, client: Client) -> Result<Outcome> {
    let env: &dyn Environment = instance;
    let step = step(env)?;
    // containerd may be on its way back.
    eventually("the step's container can be entered", Duration::from_secs(30), || {
        env.try_docker(&["exec", &step, "touch", "/goes-on"])?.exits(0).map(|_| true)
    })?;
    client.ends()
}

pub(crate) const BUILD: Operation = Operation {
    begin: |instance| {
        let client = build(instance)?;
        step(instance)?;
        Ok(client.into())
    },
    finish: |instance, underway| let_the_build_go_on(instance, underway.client),
    again: |instance| {
        let outcome = let_the_build_go_on(instance, build(instance)?)?;
        outcome.success()?;
        (BUILD.uses)(instance)
    },
    uses: |instance| {
        let one = (instance as &dyn Environment).docker(&["run", "--rm", "built", "cat", "/one"])?;
        ensure!(one == "one", "its first step has made: {one}");
        Ok(())
    },
};

const SCRIPT: &str = "echo here | dd of=/data/file conv=fsync; echo ready; \
    until [ -e /data/goes-on ]; do sleep 0.2; done; echo through";

fn run(instance: &Instance, name: &str) -> Result<Client> {
    let client =
        Client::docker(instance, &["run", "--name", name, "-v", "run:/data", BOX, "sh", "-c", SCRIPT])?;
    client.says("ready")?;
    Ok(client)
}

fn let_the_run_go_on(instance: &Instance, client: Client) -> Result<Outcome> {
    let env: &dyn Environment = instance;
    eventually("the volume can be written", Duration::from_secs(30), || {
        env.try_docker(&["run", "--rm", "-v", "run:/data", BOX, "touch", "/data/goes-on"])?
            .exits(0)
            .map(|_| true)
    })?;
    let outcome = client.ends()?;
    ensure!(outcome.text().contains("through") || outcome.status != 0, "output is lost: {}", outcome.text());
    Ok(outcome)
}

pub(crate) const RUN: Operation = Operation {
    begin: |instance| Ok(run(instance, "first")?.into()),
    finish: |instance, underway| let_the_run_go_on(instance, underway.client),
    again: |instance| {
        let env: &dyn Environment = instance;
        (RUN.uses)(instance)?;
        let state = ["inspect", "--format", "{{.State.Status}}", "first"];
        ensure!(env.docker(&state)? == "exited", "the container is {}", env.docker(&state)?);
        let_the_run_go_on(instance, run(instance, "second")?)?.success().map(drop)
    },
    uses: |instance| {
        let read = ["run", "--rm", "-v", "run:/data", BOX, "cat", "/data/file"];
        let file = (instance as &dyn Environment).docker(&read)?;
        ensure!(file == "here", "what the container had written is lost: {file}");
        Ok(())
    },
};

fn pull(instance: &Instance) -> Result<Underway> {
    let registry = Registry::start(instance, acknowledged::large_rootfs(MEGABYTES)?)?;
    Ok(Underway { client: Client::docker(instance, &["pull", registry::IMAGE])?, registry: Some(registry) })
}

pub(crate) const PULL: Operation = Operation {
    begin: |instance| {
        let underway = pull(instance)?;
        underway.registry.iter().try_for_each(Registry::is_in_the_middle)?;
        Ok(underway)
    },
    finish: |instance, underway| {
        // At its end the engine asks containerd, and takes no for an answer.
        let env: &dyn Environment = instance;
        eventually("containers start again", Duration::from_secs(30), || {
            env.try_docker(&["run", "--rm", BOX, "true"])?.exits(0).map(|_| true)
        })?;
        underway.registry.iter().for_each(Registry::go_on);
        underway.client.ends()
    },
    again: |instance| {
        let env: &dyn Environment = instance;
        acknowledged::nothing_half_made(env, registry::IMAGE)?;
        let underway = pull(instance)?;
        underway.registry.iter().for_each(Registry::go_on);
        underway.client.ends()?.success()?;
        (PULL.uses)(instance)
    },
    uses: |instance| runs(instance, registry::IMAGE),
};
