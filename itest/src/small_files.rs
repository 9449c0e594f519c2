//! What the engine finds in the small files of the image: its settings by environment, its system's name, its socket's group.

use anyhow::{Result, ensure};

use crate::Environment;
use crate::image::BOX;
use crate::up::{Instance, Options};

/// A setting by environment, what `docker info` calls the system, and the group of the socket.
pub fn read_by_the_engine() -> Result<()> {
    let variables = [("DOCKERD_DEBUG", "true")];
    let mut instance =
        Instance::start_with("files", &Options { variables: &variables, ..Options::default() })?;
    let env: &dyn Environment = &instance;
    let debugs = env.docker(&["info", "--format", "{{.Debug}}"])?;
    ensure!(debugs == "true", "the engine was told to debug, and says {debugs}");
    let system = env.docker(&["info", "--format", "{{.OperatingSystem}}"])?;
    ensure!(system == "Docker FROM scratch", "`docker info` calls the system `{system}`");
    let look = [
        "run",
        "--rm",
        "--privileged",
        "--pid",
        "host",
        BOX,
        "stat",
        "-c",
        "%g",
        "/proc/1/root/run/docker.sock",
    ];
    let group = env.docker(&look)?;
    ensure!(group == "2375", "the socket belongs to group {group}");
    instance.tear_down()
}
