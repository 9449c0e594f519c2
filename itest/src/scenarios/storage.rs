//! Data outlives containers, and what must not be written is not.

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "storage::named_volume",
        "a named volume outlives its containers, and is not written where it is read-only",
        named_volume,
    ),
    scenario("storage::bind_mount", "a directory is shared with a container, both ways", bind_mount),
    scenario(
        "storage::tmpfs_and_read_only",
        "a read-only container writes to its tmpfs alone",
        tmpfs_and_read_only,
    ),
    scenario("storage::tmpfs_size", "a tmpfs takes what its size allows and no more", tmpfs_size),
    scenario(
        "storage::readonly_bind",
        "a directory bound read-only is read and not written, and one that is not there is refused",
        readonly_bind,
    ),
    scenario(
        "storage::volume_of_the_images_content",
        "a new volume gets what the image has there; one with content keeps its own",
        volume_of_the_images_content,
    ),
    scenario(
        "storage::a_thousand_files",
        "a thousand files in a volume outlive their container, and others have them as they are",
        a_thousand_files,
    ),
    scenario(
        "storage::a_thousand_files_copied",
        "a directory of a thousand files is copied out and in, to files and as a stream",
        a_thousand_files_copied,
    ),
    scenario(
        "storage::volume_prune",
        "pruning takes volumes without name or user, with --all named ones too",
        volume_prune,
    ),
];

fn named_volume(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "--rm", "-v", "kept:/data", BOX, "sh", "-c", "echo from the first > /data/file"])?;
    let second = env.docker(&["run", "--rm", "-v", "kept:/data:ro", BOX, "cat", "/data/file"])?;
    ensure!(second == "from the first", "{second}");
    env.try_docker(&["run", "--rm", "-v", "kept:/data:ro", BOX, "touch", "/data/other"])?.exits(1)?;
    env.docker(&["volume", "rm", "kept"])?;
    ensure!(!env.docker(&["volume", "ls", "-q"])?.lines().any(|volume| volume == "kept"));
    Ok(())
}

fn bind_mount(env: &dyn Environment) -> Result<()> {
    let shared = env.exchange().directory("bound")?;
    shared.write("in", "from outside")?;
    let mount = format!("{}:/shared", shared.inside);
    let script = "cat /shared/in; echo from inside > /shared/out";
    let read = env.docker(&["run", "--rm", "-v", &mount, BOX, "sh", "-c", script])?;
    ensure!(read == "from outside", "{read}");
    ensure!(std::fs::read_to_string(shared.outside.join("out"))? == "from inside\n");
    Ok(())
}

fn tmpfs_and_read_only(env: &dyn Environment) -> Result<()> {
    let script = "echo x > /scratch/file && ! echo x > /file && grep ' /scratch tmpfs ' /proc/mounts";
    env.docker(&["run", "--rm", "--read-only", "--tmpfs", "/scratch", BOX, "sh", "-c", script]).map(drop)
}

fn tmpfs_size(env: &dyn Environment) -> Result<()> {
    let mount = "type=tmpfs,destination=/scratch,tmpfs-size=4m,tmpfs-mode=700";
    let fill = |megabytes| {
        let script = format!("stat -c %a /scratch; dd if=/dev/zero of=/scratch/file bs=1M count={megabytes}");
        env.try_docker(&["run", "--rm", "--mount", mount, BOX, "sh", "-c", &script])
    };
    let fits = fill(3)?.exits(0)?;
    ensure!(fits.text() == "700", "its mode is {}", fits.text());
    let bursts = fill(5)?.exits(1)?;
    ensure!(bursts.stderr.contains("No space left on device"), "{}", bursts.stderr);
    Ok(())
}

fn readonly_bind(env: &dyn Environment) -> Result<()> {
    let shared = env.exchange().directory("read-only")?;
    shared.write("file", "as it was")?;
    let run = |source: &str, script: &str| {
        let mount = format!("type=bind,source={source},target=/shared,readonly");
        env.try_docker(&["run", "--rm", "--mount", &mount, BOX, "sh", "-c", script])
    };
    let read = run(&shared.inside, "cat /shared/file")?.success()?;
    ensure!(read == "as it was", "{read}");
    for script in ["echo new > /shared/file", "rm /shared/file", "mount -o remount,rw /shared"] {
        let refused = run(&shared.inside, script)?;
        ensure!(refused.status != 0, "`{script}` was allowed");
    }
    ensure!(std::fs::read_to_string(shared.outside.join("file"))? == "as it was");
    let missing = run(&format!("{}/missing", shared.inside), "true")?.exits(125)?;
    ensure!(missing.stderr.contains("bind source path does not exist"), "{}", missing.stderr);
    ensure!(!shared.outside.join("missing").exists(), "it was made");
    Ok(())
}

fn volume_of_the_images_content(env: &dyn Environment) -> Result<()> {
    let count = |mount: &str| env.docker(&["run", "--rm", "-v", mount, BOX, "sh", "-c", "ls /etc | wc -l"]);
    let all = env.docker(&["run", "--rm", BOX, "cat", "/etc/not-executable", "/etc/group"])?;
    let script = "cat /etc/not-executable /etc/group; rm /etc/group; echo kept > /etc/not-executable";
    let copied = env.docker(&["run", "--rm", "-v", "filled:/etc", BOX, "sh", "-c", script])?;
    ensure!(copied == all, "the image has: {all}\nthe volume: {copied}");
    let script = "cat /etc/not-executable; test -e /etc/group || echo gone";
    let again = env.docker(&["run", "--rm", "-v", "filled:/etc", BOX, "sh", "-c", script])?;
    ensure!(again == "kept\ngone", "the image's content came again: {again}");
    // hosts, hostname and resolv.conf are mounted there in any case.
    let (empty, full) = (count("not-filled:/etc:nocopy")?, count("filled:/etc")?);
    ensure!(empty == "3" && full != "3", "with nocopy {empty} files, else {full}");
    env.docker(&["volume", "rm", "filled", "not-filled"]).map(drop)
}

/// In a directory: how many files there are, and the sum of all that is in them.
const COUNT_AND_SUM: &str = "ls | wc -l; cat * | md5sum";

/// Writes them into a volume, and returns what [`COUNT_AND_SUM`] says of it.
fn write_a_thousand(env: &dyn Environment, volume: &str) -> Result<String> {
    let script = format!("cd /data; for i in $(seq 1000); do echo file $i > $i; done; {COUNT_AND_SUM}");
    let mount = format!("{volume}:/data");
    let written = env.docker(&["run", "--rm", "-v", &mount, BOX, "sh", "-c", &script])?;
    ensure!(written.starts_with("1000\n"), "{written}");
    Ok(written)
}

fn a_thousand_files(env: &dyn Environment) -> Result<()> {
    let written = write_a_thousand(env, "thousand")?;
    let look = format!("cd /data && {COUNT_AND_SUM}; rm 500 && ls | wc -l");
    let seen = env.docker(&["run", "--rm", "-v", "thousand:/data", BOX, "sh", "-c", &look])?;
    ensure!(seen == format!("{written}\n999"), "written: {written}\nseen by another: {seen}");
    let again =
        env.docker(&["run", "--rm", "-v", "thousand:/data:ro", BOX, "sh", "-c", "ls /data | wc -l"])?;
    ensure!(again == "999", "by a third: {again}");
    env.docker(&["volume", "rm", "thousand"]).map(drop)
}

fn a_thousand_files_copied(env: &dyn Environment) -> Result<()> {
    let written = write_a_thousand(env, "copied")?;
    env.docker(&["run", "-d", "--name", "thousand", "-v", "copied:/data", BOX, "sleep", "600"])?;
    let shared = env.exchange().directory("thousand")?;
    env.docker(&["cp", "thousand:/data", &shared.inside])?;
    ensure!(std::fs::read_dir(shared.outside.join("data"))?.count() == 1000, "copied out are fewer");
    ensure!(std::fs::read_to_string(shared.outside.join("data/777"))? == "file 777\n");
    // As a stream, out of the running container and into one that never ran.
    let look = format!("cd /data && {COUNT_AND_SUM}");
    let stream = env.try_docker(&["cp", "thousand:/data", "-"])?.exits(0)?.stdout;
    env.docker(&["create", "--name", "streamed", "-v", "other:/data", BOX, "sh", "-c", &look])?;
    env.docker_with_input(&["cp", "-", "streamed:/"], &stream)?.exits(0)?;
    let streamed = env.docker(&["start", "--attach", "streamed"])?;
    ensure!(streamed == written, "written: {written}\nstreamed: {streamed}");

    env.docker(&["cp", &format!("{}/data", shared.inside), "thousand:/copied"])?;
    let look = format!("cd /copied && {COUNT_AND_SUM}");
    let copied = env.docker(&["exec", "thousand", "sh", "-c", &look])?;
    ensure!(copied == written, "written: {written}\ncopied out and in: {copied}");
    env.remove(&["thousand", "streamed"])?;
    env.docker(&["volume", "rm", "copied", "other"]).map(drop)
}

fn volume_prune(env: &dyn Environment) -> Result<()> {
    let label = ["--label", "itest=pruned"];
    let anonymous = env.docker(&[&["volume", "create"], &label[..]].concat())?;
    for name in ["named", "used"] {
        env.docker(&[&["volume", "create"], &label[..], &[name]].concat())?;
    }
    env.docker(&["run", "--name", "user", "-v", "used:/data", "-v", "/nameless", BOX, "true"])?;
    let nameless = env.docker(&[
        "inspect",
        "--format",
        "{{range .Mounts}}{{if eq .Destination \"/nameless\"}}{{.Name}}{{end}}{{end}}",
        "user",
    ])?;
    let left = || -> Result<Vec<bool>> {
        let list = env.docker(&["volume", "ls", "-q"])?;
        Ok([&anonymous, "named", "used", &nameless]
            .map(|name| list.lines().any(|line| line == name))
            .to_vec())
    };
    env.docker(&["volume", "prune", "--force"])?;
    ensure!(
        left()? == [false, true, true, true],
        "anonymous, named, used, used and anonymous: {:?}",
        left()?
    );
    env.docker(&["volume", "prune", "--force", "--all", "--filter", "label=itest=pruned"])?;
    ensure!(left()? == [false, false, true, true], "with --all: {:?}", left()?);
    // Without `--volumes` a container leaves its own behind.
    env.docker(&["rm", "user"])?;
    ensure!(left()? == [false, false, true, true], "after `rm`: {:?}", left()?);
    env.docker(&["volume", "prune", "--force"])?;
    ensure!(left()? == [false, false, true, false], "after `rm` and `prune`: {:?}", left()?);
    env.docker(&["volume", "rm", "used"]).map(drop)
}
