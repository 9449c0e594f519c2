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

/// An image without the list of the engine's flags asks the engine, in a system where nothing is mounted yet.
pub fn without_the_list_of_flags() -> Result<()> {
    let variables = [("DOCKERD_DEBUG", "true")];
    let options = Options { up: &["--without", "flags"], variables: &variables, ..Options::default() };
    let mut instance = Instance::start_bare("flags", &options)?;
    let debugs = (&instance as &dyn Environment).docker(&["info", "--format", "{{.Debug}}"])?;
    ensure!(debugs == "true", "the engine was told to debug, and says {debugs}");
    instance.tear_down()
}
