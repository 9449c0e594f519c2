//! The engine answers and says what it is.

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "engine::version",
        "client and server are of one release, and every part of the engine answers",
        version,
    ),
    scenario(
        "engine::info",
        "storage driver, runtime and data root are what they should be, and nothing warns of limits, forwarding or bridges",
        info,
    ),
    scenario("engine::no_shell", "the image holds no shell", no_shell),
];

/// Client and server of one release, and every part that the server lists.
fn version(env: &dyn Environment) -> Result<()> {
    let versions = env.docker(&["version", "--format", "{{.Client.Version}} {{.Server.Version}}"])?;
    let (client, server) = versions.split_once(' ').unwrap_or((&versions, ""));
    ensure!(client == server && server.starts_with(|c: char| c.is_ascii_digit()), "versions: {versions}");
    let parts = env.docker(&["version", "--format", "{{range .Server.Components}}{{.Name}} {{end}}"])?;
    for part in ["Engine", "containerd", "runc", "docker-init"] {
        ensure!(parts.split_whitespace().any(|found| found == part), "no {part} among: {parts}");
    }
    Ok(())
}

/// What users look for in `docker info`, and none of the warnings that mean a feature is missing.
fn info(env: &dyn Environment) -> Result<()> {
    let info = env.docker(&[
        "info",
        "--format",
        "{{.Driver}}|{{.DefaultRuntime}}|{{.DockerRootDir}}|{{.CgroupDriver}}",
    ])?;
    let fields: Vec<&str> = info.split('|').collect();
    ensure!(fields[0].starts_with("overlay"), "storage driver: {}", fields[0]);
    ensure!(fields[1..] == ["runc", "/var/lib/docker", "cgroupfs"], "{info}");
    let warnings = env.docker(&["info", "--format", "{{range .Warnings}}{{println .}}{{end}}"])?;
    for piece in ["memory limit", "pids limit", "IPv4 forwarding", "bridge-nf-call-iptables"] {
        ensure!(!warnings.contains(piece), "docker info warns: {warnings}");
    }
    Ok(())
}

/// The image holds only what Docker needs.
fn no_shell(env: &dyn Environment) -> Result<()> {
    for program in ["sh", "/bin/sh", "ls"] {
        env.exec(&[program], b"")?.exits(127)?;
    }
    Ok(())
}
