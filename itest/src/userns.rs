//! An engine with `--userns-remap=default`: root in a container is nobody outside.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;
use crate::up::{Instance, Options};

/// The first user and group of `dockremap`, in the image's `/etc/subuid` and `/etc/subgid`.
const FIRST: u32 = 165_536;

/// Users and groups are mapped, files belong to the mapped ones, the engine's own files are out of reach; ports, volumes
/// and `--userns=host` work.
pub fn remapped() -> Result<()> {
    let options = Options { engine: &["--userns-remap=default"], ..Options::default() };
    let mut instance = Instance::start_with("userns", &options)?;
    let env: &dyn Environment = &instance;
    let info = env.docker(&["info", "--format", "{{.SecurityOptions}} {{.DockerRootDir}}"])?;
    let root = format!("/var/lib/docker/{FIRST}.{FIRST}");
    ensure!(info.contains("name=userns") && info.ends_with(&root), "{info}");

    let serve = "id -u > /data/who; mkdir /www; cp /data/who /www/index.html; exec httpd -f -p 80 -h /www";
    env.docker(&[
        "run",
        "-d",
        "--name",
        "mapped",
        "-v",
        "kept:/data",
        "-p",
        "8080:80",
        BOX,
        "sh",
        "-c",
        serve,
    ])?;
    let mut page = String::new();
    let script = "timeout 5 wget -q -O - http://127.0.0.1:8080/; exit $?";
    eventually("the published port answers", Duration::from_secs(30), || {
        let ask = ["run", "--rm", "--userns", "host", "--network", "host", BOX, "sh", "-c", script];
        page = env.docker(&ask)?;
        Ok(page == "0")
    })
    .map_err(|error| error.context(page.clone()))?;
    for map in ["uid_map", "gid_map"] {
        let inside = env.docker(&["exec", "mapped", "cat", &format!("/proc/1/{map}")])?;
        let words: Vec<&str> = inside.split_whitespace().collect();
        ensure!(words == ["0", &FIRST.to_string(), "65536"], "{map}: {inside}");
    }
    let outside = env.docker(&["top", "mapped", "-o", "pid,uid,args"])?;
    ensure!(
        outside.lines().any(|line| line.contains(&FIRST.to_string()) && line.contains("httpd")),
        "{outside}"
    );

    // Seen by a container that is not mapped, which is what `--userns=host` is for.
    let script = "cat /proc/self/uid_map; stat -c %u:%g /engine/volumes/kept/_data/who; \
         for d in /engine/overlay2/*/diff/bin/busybox; do stat -c %u:%g $d; done | sort -u";
    let mount = format!("{root}:/engine:ro");
    let seen = env.docker(&["run", "--rm", "--userns", "host", "-v", &mount, BOX, "sh", "-c", script])?;
    let seen: Vec<Vec<&str>> = seen.lines().map(|line| line.split_whitespace().collect()).collect();
    let owner = format!("{FIRST}:{FIRST}");
    let wanted = [vec!["0", "0", "4294967295"], vec![owner.as_str()], vec![owner.as_str()]];
    ensure!(seen == wanted, "{seen:?}, expected {wanted:?}");

    // What root of the engine's own system may, root of a container may not, and by no option but that one.
    let write = ["touch", "/system/etc/written"];
    let mount = ["run", "--rm", "-v", "/:/system"];
    env.try_docker(&[&mount[..], &[BOX], &write].concat())?.exits(1)?;
    env.try_docker(&[&mount[..], &["--userns", "host", BOX], &write].concat())?.exits(0)?;
    let privileged = env.try_docker(&["run", "--rm", "--privileged", BOX, "true"])?.exits(125)?;
    ensure!(privileged.stderr.contains("incompatible with user namespaces"), "{}", privileged.stderr);

    env.remove(&["mapped"])?;
    let kept = env.docker(&["run", "--rm", "-v", "kept:/data", BOX, "stat", "-c", "%u", "/data/who"])?;
    ensure!(kept == "0", "the volume's file belongs to {kept} in another container");
    instance.tear_down()
}
