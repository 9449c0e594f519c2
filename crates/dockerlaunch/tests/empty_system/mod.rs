//! The launcher as PID 1 of an empty system, in namespaces of an unprivileged user: as real root the same code would
//! write the host's own knobs.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

pub(crate) mod case;

/// An empty root with the launcher, the host's programs to script with, and an engine that is a shell script.
pub(crate) struct EmptySystem {
    dir: tempfile::TempDir,
}

/// What PID 1 of the pid namespace does before it becomes the launcher. `$1` is the prepared directory.
const STAGE: &str = r#"
set -eu
mount -t tmpfs root "$1/root"
cd "$1/root"
mkdir usr dev launcher
mount --rbind -o ro /usr usr
for link in bin sbin lib lib64; do ln -s "usr/$link" "$link"; done
cp "$1/dockerlaunch" launcher/dockerlaunch
cp "$1/dockerd" launcher/dockerd
mount -t tmpfs dev dev
for node in null zero full random urandom tty; do : > dev/$node; mount --bind /dev/$node dev/$node; done
shift
exec env -i container=test PATH=/launcher:/usr/sbin:/usr/bin:/sbin:/bin DOCKER_LAUNCH_DEBUG=true \
  chroot . /launcher/dockerlaunch "$@"
"#;

/// For an engine's script: says that it is ready.
pub(crate) const READY: &str = r#"perl -MIO::Socket::UNIX -MSocket -e '
  IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send("READY=1\n") or die $!' ; "#;

impl EmptySystem {
    pub(crate) fn new(engine: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ns-launch").tempdir_in("/tmp").expect("dir");
        let put = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, content).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        };
        put("dockerlaunch", &fs::read(env!("CARGO_BIN_EXE_dockerlaunch")).expect("launcher"));
        put("dockerd", format!("#!/bin/sh\n{engine}\n").as_bytes());
        put("stage", STAGE.as_bytes());
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("root");
        for path in [dir.path(), &root] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod");
        }
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Changes what is done before the launcher starts.
    pub(crate) fn stage(&self, change: impl FnOnce(&str) -> String) {
        let changed = change(STAGE);
        assert_ne!(changed, STAGE, "nothing was replaced");
        fs::write(self.path().join("stage"), changed).expect("write");
    }

    /// Runs these commands, in the new root, before the launcher starts.
    pub(crate) fn prepare(&self, commands: &str) {
        self.stage(|stage| stage.replace("shift\n", &format!("{commands}\nshift\n")));
    }

    /// Gives the launcher these variables, and the new root these files and what the commands do.
    pub(crate) fn configure(&self, env: &[(&str, &str)], files: &[(&str, &str)], commands: &str) {
        for (path, content) in files {
            let path = self.path().join("files").join(path);
            fs::create_dir_all(path.parent().expect("below files")).expect("mkdir");
            fs::write(path, content).expect("write");
        }
        fs::create_dir_all(self.path().join("files")).expect("mkdir");
        let quoted = |text: &str| text.replace('\'', r"'\''");
        let env: String = env.iter().map(|(name, value)| format!(" '{name}={}'", quoted(value))).collect();
        self.stage(|stage| {
            let copied = format!("cp -r \"$1/files/.\" .\n{commands}\nshift\n");
            stage.replace("env -i", &format!("env -i{env}")).replace("shift\n", &copied)
        });
    }

    /// Runs the launcher to its end.
    pub(crate) fn launch(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("setpriv and unshare of util-linux")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut drop = Command::new("setpriv");
            drop.args(["--reuid=65534", "--regid=65534", "--clear-groups", "unshare"]);
            drop
        } else {
            Command::new("unshare")
        };
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--net",
                "--ipc",
            ])
            .args(["--uts", "--cgroup", "sh"])
            .arg(self.path().join("stage"))
            .arg(self.path())
            .args(args);
        command
    }
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
pub(crate) fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", text(output));
}
