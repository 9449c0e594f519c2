//! Our containerd beside the engine; both are scripts here.

mod empty_system;

use empty_system::{EmptySystem, assert_status, text};

const LAUNCHER: &str = "/launcher/dockerlaunch \"$@\"";

/// `/usr` is the host's, so the program goes into an overlay over it.
fn system(engine: &str, containerd: &str, env: &str, command: &str) -> EmptySystem {
    let system = EmptySystem::new(engine);
    let put = format!(
        "mkdir -p o/u/lib/dockerlaunch/bin o/w
         mount -t overlay -o lowerdir=/usr,upperdir=o/u,workdir=o/w,userxattr o usr
         printf '#!/bin/sh\\n%s\\n' '{containerd}' >usr/lib/dockerlaunch/bin/containerd
         chmod +x usr/lib/dockerlaunch/bin/containerd\n"
    );
    system.stage(|stage| {
        stage
            .replace("mount --rbind -o ro /usr usr\n", &put)
            .replace("env -i", &format!("env -i {env}"))
            .replace(LAUNCHER, &format!("/usr/bin/env LD_LIBRARY_PATH=/of/the/base {command}"))
    });
    system
}

#[test]
fn ns_the_engine_and_containerd_hear_nothing_of_the_base_images_loader() {
    let engine = "until [ -e /told ]; do sleep 0.05; done; cat /told; env | sed s/^/engine:/";
    let containerd = "env | sed s/^/containerd:/ >/told.new; mv /told.new /told; exec sleep 1000";
    let output = system(engine, containerd, "DOCKER_CERT_PATH=/of/clients KEPT=1", LAUNCHER).launch(&[]);
    assert_status(&output, 0);
    let text = text(&output);
    for of in ["engine", "containerd"] {
        assert!(text.contains(&format!("{of}:KEPT=1\n")), "{text}");
        for name in ["LD_", "DOCKER_CERT_PATH", "LISTEN_FDNAMES"] {
            assert!(!text.contains(&format!("{of}:{name}")), "{name}: {text}");
        }
    }
}

#[test]
fn ns_a_containerd_that_never_starts_ends_the_launch() {
    let output = system("exec sleep 1000", "echo its last words; exit 3", "", LAUNCHER).launch(&["dockerd"]);
    assert_status(&output, 1);
    let text = text(&output);
    for part in ["error: containerd ended with status 3\n", "its last words", "hint: ", "dockerlaunch check"]
    {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert_eq!(text.matches("its last words").count(), 5, "{text}");
}

/// As a child of dockerd it would be killed with that; left alone it keeps its files from the next one.
#[test]
fn ns_containerd_ends_with_a_launcher_that_is_killed() {
    let containerd = "echo $$ >/pid.new; mv /pid.new /pid; exec sleep 1000";
    let kill =
        "sh -c 'dockerlaunch dockerd & until [ -e /pid ]; do sleep 0.05; done; kill -9 $!; read pid </pid
        for i in $(seq 300); do [ -e /proc/$pid ] || { echo it is gone; exit; }; sleep 0.05; done'";
    let output = system("exec sleep 1000", containerd, "", kill).launch(&[]);
    assert!(text(&output).contains("it is gone"), "{}", text(&output));
}
