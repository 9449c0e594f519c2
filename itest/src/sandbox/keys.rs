//! The keys of the session that `up` and `exec` are called in.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Sandbox};
use crate::{command, image, product};

const NAME: &str = "itest-of-the-session";

/// keyctl(2) and add_key(2) of amd64, which no crate here has: a new session keyring, and in it a key that nobody sees, not
/// even its owner, but who has that keyring. It goes with the last of these.
const SESSION: &str = r#"
    use strict;
    my ($keyctl, $join, $permissions, $possessor) = (250, 1, 5, 0x3f000000);
    my ($type, $name, $value, $session) = ("user", shift, "open sesame", -3);
    die "join: $!" if syscall($keyctl, $join, 0) < 0;
    my $key = syscall(248, $type, $name, $value, length $value, $session);
    die "add: $!" if $key < 0;
    die "permissions: $!" if syscall($keyctl, $permissions, $key, $possessor) < 0;
    exec @ARGV or die $!;
"#;

/// The same command in such a session.
fn in_the_session(command: &Command) -> Command {
    let mut perl = Command::new("perl");
    perl.args(["-e", SESSION, NAME]).arg(command.get_program()).args(command.get_args());
    perl
}

/// They are at hand for nobody inside: not for what PID 1 starts, not for a command beside it, not for a privileged container.
pub fn keys_of_the_session() -> Result<()> {
    let mut look = Command::new("cat");
    look.arg("/proc/keys");
    let seen = command::run(&mut in_the_session(&look), b"")?.success()?;
    ensure!(seen.contains(NAME), "the look misses the key: {seen}");

    let hooks = tempfile::tempdir_in(product::target())?;
    let hook = hooks.path().join("look");
    std::fs::write(&hook, format!("#!{BUSYBOX} sh\n{BUSYBOX} sed 's/^/key: /' /proc/keys\n"))?;
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755))?;
    let sandbox = Sandbox::new("keys")?;
    let mount = format!("{}:/etc/dockerlaunch/pre.d", hooks.path().display());
    let up = sandbox.up_command(&["-v", &mount])?;
    command::run_within(&mut in_the_session(&up), b"", Duration::from_secs(600))?.exits(0)?;
    let log = command::run(&mut sandbox.command("logs")?, b"")?;
    let hooked = format!("{}{}", log.text(), log.stderr);
    ensure!(hooked.contains("key: "), "the hook has seen no keyring: {hooked}");

    let beside = command::run(&mut in_the_session(&sandbox.script("cat /proc/keys")?), b"")?.success()?;
    let docker = |words: &[&str], input: &[u8]| {
        let mut exec = sandbox.command("exec")?;
        exec.args(["--", "docker"]).args(words);
        command::run(&mut in_the_session(&exec), input)?.success()
    };
    docker(&["import", "-", image::BOX], &image::busybox_rootfs()?)?;
    let privileged = docker(&["run", "--rm", "--privileged", image::BOX, "cat", "/proc/keys"], b"")?;
    for (who, seen) in [("a hook", hooked), ("a command", beside), ("a container", privileged)] {
        ensure!(seen.contains("keyring"), "{who} has seen no keyring: {seen}");
        ensure!(!seen.contains(NAME), "{who} has the key: {seen}");
    }
    sandbox.down(&["--volumes"])?.exits(0)?;
    sandbox.nothing_left().context("after the look at keys")
}
