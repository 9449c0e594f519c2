//! The `nested_` tier: an engine whose data root lies on the overlay of its own container, and two on one volume.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use itest::build::IMAGE;
use itest::nested::{self, Nested};
use itest::suite::{Shared, Suite};
use itest::up::Instance;
use itest::{Environment, Need};

/// The engine that all of them are nested in; it has our image.
static OUTER: Shared<Instance> = Shared::new(|| nested::outer("nested-storage"));

fn main() -> ExitCode {
    Suite::new("nested_storage", &[Need::Root, Need::Busybox, Need::Program("script")])
        .test("overlay_on_overlay_pain_4", &[], overlay_on_overlay)
        .long("memory_pain_4", &[], memory)
        .long("two_engines_on_one_volume_pain_25", &[], two_engines)
        .run(|| OUTER.take().and_then(Arc::into_inner).map_or(Ok(()), |mut outer| outer.tear_down()))
}

fn log(nested: &Nested) -> Result<String> {
    Ok(nested.outer().try_docker(&["logs", nested.container()])?.stderr)
}

/// Without a volume: it works, and says at what price.
fn overlay_on_overlay() -> Result<()> {
    let daemon = Nested::run(OUTER.get()?, "no-volume", IMAGE, &["dockerd", "--data-root", "/data"])?;
    let inner: &dyn Environment = &daemon;
    let driver = inner.docker(&["info", "--format", "{{.Driver}}"])?;
    let text = log(&daemon)?;
    let told = format!("storage   {driver} (copies every layer) on overlay, in /data");
    ensure!(driver == "vfs" && text.contains(&told), "no `{told}` in: {text}");
    ensure!(
        text.contains("warning: no overlay can be mounted in /data") && text.contains("-v docker-data:/data"),
        "{text}"
    );
    daemon.with_base_image()?.runs_a_container()
}

/// The remedy that is offered there.
fn memory() -> Result<()> {
    let args = ["dockerd", "--data-root", "/data", "--storage=tmpfs:1g"];
    let daemon = Nested::run(OUTER.get()?, "in-memory", IMAGE, &args)?;
    let inner: &dyn Environment = &daemon;
    ensure!(inner.docker(&["info", "--format", "{{.Driver}}"])? == "overlay2", "{}", log(&daemon)?);
    daemon.with_base_image()?.runs_a_container()
}

/// The second one says who has it, and takes it when the first has been killed.
fn two_engines() -> Result<()> {
    let outer = OUTER.get()?;
    let environment: &dyn Environment = &*outer;
    let volume = ["--hostname", "the-first-one", "-v", "shared:/var/lib/docker"];
    let first = Nested::run_with(Arc::clone(&outer), "first", IMAGE, &volume, &[])?;
    let second =
        ["run", "--rm", "--privileged", "-e", "DOCKERLAUNCH_LOCK_TIMEOUT=500ms", "-v", volume[3], IMAGE];
    let refused = environment.try_docker(&second)?.exits(125)?;
    for word in
        ["another engine uses the data root /var/lib/docker", "the-first-one, pid 1 in pid:[", "hint:"]
    {
        ensure!(refused.stderr.contains(word), "no `{word}` in: {}", refused.stderr);
    }
    environment.docker(&["kill", first.container()])?;
    drop(first);
    drop(Nested::run_with(Arc::clone(&outer), "second", IMAGE, &volume[2..], &[])?);
    environment.docker(&["volume", "rm", "shared"]).map(drop)
}
