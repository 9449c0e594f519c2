//! `docker compose`: several containers, a network and a volume out of one file.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "compose::up_and_down",
        "two services meet on their network and share a volume, and `down -v` leaves nothing",
        up_and_down,
    )
    .image(&["compose"]),
    scenario("compose::build", "a service's image is built from its directory", build)
        .image(&["buildx", "compose"]),
];

/// `docker compose` on the file of a project in the exchange directory.
struct Project<'a> {
    env: &'a dyn Environment,
    name: &'static str,
    file: String,
}

impl<'a> Project<'a> {
    fn new(env: &'a dyn Environment, name: &'static str, files: &[(&str, String)]) -> Result<Self> {
        let directory = env.exchange().directory(name)?;
        for (file, content) in files {
            directory.write(file, content)?;
        }
        Ok(Project { env, name, file: format!("{}/compose.yaml", directory.inside) })
    }

    fn compose(&self, words: &[&str]) -> Result<String> {
        self.env.docker(&[&["compose", "--project-name", self.name, "--file", &self.file], words].concat())
    }

    /// Containers, networks and volumes of the project, by what compose labels them with.
    fn left(&self) -> Result<String> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let mut left = Vec::new();
        for list in [&["ps", "-aq"][..], &["network", "ls", "-q"], &["volume", "ls", "-q"]] {
            left.push(self.env.docker(&[list, &["--filter", &filter]].concat())?);
        }
        Ok(left.join("\n").trim().to_owned())
    }
}

fn up_and_down(env: &dyn Environment) -> Result<()> {
    // Its old name.
    env.exec(&["docker-compose", "version"], b"")?.exits(0)?;
    let file = format!(
        "services:
  server:
    image: {BOX}
    command: [httpd, -f, -p, '80', -h, /www]
    volumes: ['pages:/www']
    networks: [inner]
  client:
    image: {BOX}
    command:
      - sh
      - -c
      - |
        echo written by the client > /pages/index.html
        until timeout 5 wget -q -O - http://server/; do sleep 0.2; done
        exec sleep 600
    init: true
    volumes: ['pages:/pages']
    networks: [inner]
    depends_on: [server]
networks:
  inner:
volumes:
  pages:
"
    );
    let project = Project::new(env, "composed", &[("compose.yaml", file)])?;
    project.compose(&["up", "--detach"])?;
    let running = project.compose(&["ps", "--services", "--status", "running"])?;
    let mut running: Vec<&str> = running.lines().collect();
    running.sort_unstable();
    ensure!(running == ["client", "server"], "running: {running:?}");
    eventually("the server's page is in the client's log", Duration::from_secs(60), || {
        Ok(project.compose(&["logs", "--no-log-prefix", "client"])?.contains("written by the client"))
    })?;
    let page = project.compose(&["exec", "-T", "server", "cat", "/www/index.html"])?;
    ensure!(page == "written by the client", "{page}");
    ensure!(project.left()?.lines().count() == 4, "two containers, a network, a volume: {}", project.left()?);
    project.compose(&["down", "--volumes", "--timeout", "1"])?;
    let left = project.left()?;
    ensure!(left.is_empty(), "`down -v` left: {left}");
    Ok(())
}

fn build(env: &dyn Environment) -> Result<()> {
    let project = Project::new(
        env,
        "compose-built",
        &[
            (
                "compose.yaml",
                "services:\n  made:\n    build: .\n    image: compose-built:1\n    network_mode: none\n"
                    .to_owned(),
            ),
            ("Dockerfile", format!("FROM {BOX}\nCOPY word /word\nCMD [\"cat\", \"/word\"]\n")),
            ("word", "out of the directory\n".to_owned()),
        ],
    )?;
    project.compose(&["build"])?;
    let said = project.compose(&["run", "--rm", "-T", "made"])?;
    ensure!(said == "out of the directory", "{said}");
    project.compose(&["down", "--rmi", "all"])?;
    ensure!(env.docker(&["images", "-q", "compose-built"])?.is_empty(), "`down --rmi all` left the image");
    ensure!(project.left()?.is_empty(), "left: {}", project.left()?);
    env.docker(&["builder", "prune", "--all", "--force"]).map(drop)
}
