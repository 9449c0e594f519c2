//! Docker as another suite of the distribution has it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Sandbox;
use crate::{command, image};

/// The stable release's Docker: packages under other names, another layout, an older engine.
pub fn other_suite() -> Result<()> {
    let sandbox = Sandbox::new("trixie")?;
    sandbox.up(&["--suite", "trixie"])?.exits(0)?;
    let docker = |words: &[&str], input: &[u8]| {
        let mut exec = sandbox.command("exec")?;
        exec.args(["--", "docker"]).args(words);
        command::run_within(&mut exec, input, Duration::from_secs(60))
    };
    let version = docker(&["version", "--format", "{{.Server.Version}}"], b"")?.success()?;
    ensure!(version.starts_with("26.1"), "the engine is {version}");
    docker(&["import", "-", image::BOX], &image::busybox_rootfs()?)?.success()?;
    let shell = "wget -q -O - http://server/ && exit 7";
    docker(&["network", "create", "named"], b"")?.success()?;
    let serve = "mkdir /www; echo by name > /www/index.html; exec httpd -f -p 80 -h /www";
    docker(
        &["run", "-d", "--init", "--name", "server", "--network", "named", image::BOX, "sh", "-c", serve],
        b"",
    )?
    .success()?;
    command::eventually("the server answers by its name", Duration::from_secs(20), || {
        let asked = docker(&["run", "--rm", "--network", "named", image::BOX, "sh", "-c", shell], b"")?;
        Ok(asked.status == 7 && asked.text() == "by name")
    })?;
    docker(&["top", "server"], b"")?.success()?;
    sandbox.down(&["--volumes"])?.exits(0)?;
    sandbox.nothing_left()
}
