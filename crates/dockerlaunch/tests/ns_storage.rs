//! The data root: what carries it, who has it, and the images that are put into it.

mod empty_system;

use empty_system::{EmptySystem, READY, assert_status, text};

const LOCK: &str = "var/lib/docker/.dockerlaunch.lock";

#[track_caller]
fn assert_has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn ns_an_overlay_is_tried_and_nothing_of_it_is_left_pain_4() {
    // One that was killed meanwhile has left something, and another one is just at it.
    let left = "cd var/lib/docker; mkdir -p .dockerlaunch-trial-1/upper/deep .dockerlaunch-trial-2
                touch -d '2 hours ago' .dockerlaunch-trial-1; cd -";
    let row = |prepare: &str, wanted: &str| {
        let system = EmptySystem::new("echo left: $(ls -A /var/lib/docker)");
        system.prepare(prepare);
        assert_has(&text(&system.launch(&["dockerd"])), &[wanted]);
    };
    row(&format!("mkdir -p var/lib/docker; {left}"), "left: .dockerlaunch-trial-2 .dockerlaunch.lock\n");
    // With a data root that is there, and one that is not.
    for prepare in ["mkdir -p var/lib/docker", ":"] {
        let system = EmptySystem::new(
            "echo left: $(ls -A /var/lib/docker); find / -xdev -name '.dockerlaunch-trial*'
         grep -c trial /proc/self/mountinfo",
        );
        system.prepare(prepare);
        let output = system.launch(&["dockerd"]);
        assert_status(&output, 1);
        assert_has(
            &text(&output),
            &["storage   overlay2 on tmpfs, in /var/lib/docker", "left: .dockerlaunch.lock\n0\n"],
        );
    }
}

/// As in a container without a volume: what is below the data root is an overlay itself.
const ON_OVERLAY: &str = "mkdir -p o/l o/u o/w var/lib/docker
mount -t overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w,userxattr root var/lib/docker";

#[test]
fn ns_an_overlay_on_an_overlay_is_told_and_left_alone_pain_4() {
    let system = EmptySystem::new("echo engine $*; echo left: $(ls -A /var/lib/docker)");
    system.prepare(ON_OVERLAY);
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(
        &text(&output),
        &[
            "warning: no overlay can be mounted in /var/lib/docker, which is on overlay: tried: ",
            "`vfs` is used instead, and copies every layer",
            "`-v docker-data:/var/lib/docker`",
            "storage   vfs (copies every layer) on overlay, in /var/lib/docker",
            "engine -H fd://\n",
            "left: .dockerlaunch.lock\n",
        ],
    );
    // The engine would fail with it, and not say why.
    let output = system.launch(&["dockerd", "-s", "overlay2"]);
    assert_status(&output, 125);
    assert_has(&text(&output), &["--storage-driver names `overlay2`", "DOCKERLAUNCH_STORAGE=tmpfs"]);
    let output = system.launch(&["dockerd", "-s", "vfs"]);
    assert_status(&output, 0);
    assert_has(&text(&output), &["storage   vfs (copies every layer) on overlay, in /var/lib/docker"]);
}

/// The hook repairs what would stop the launch, and what it mounts is what the engine uses.
#[test]
fn ns_what_a_hook_mounts_on_the_data_root_is_tried_and_locked_pains_4_25() {
    for reap in ["true", "false"] {
        let system = EmptySystem::new(&format!(
            "mount | grep -c 'on /var/lib/docker type tmpfs'; flock -n /{LOCK} true || echo taken by $(cat /{LOCK})
             umount -l /var/lib/docker; echo below: $(ls -A /var/lib/docker)"
        ));
        let hook = "#!/bin/sh\nmount -t tmpfs hook /var/lib/docker";
        let prepare = format!("{ON_OVERLAY}\nchmod 755 etc/dockerlaunch/pre.d/mount");
        let files = [("etc/dockerlaunch/pre.d/mount", hook)];
        system.configure(&[("DOCKER_LAUNCH_REAP", reap)], &files, &prepare);
        let output = system.launch(&["dockerd", "-s", "overlay2"]);
        assert_status(&output, 0);
        let said = text(&output);
        assert_has(&said, &["storage   overlay2 on tmpfs, in /var/lib/docker", "1\ntaken by ", "below:\n"]);
        let output = system.launch(&["plan", "dockerd", "-s", "overlay2"]);
        assert_has(&text(&output), &["skip  storage.lock   hooks may still change it"]);
    }
}

#[test]
fn ns_memory_carries_the_data_root_where_an_overlay_cannot_pain_4() {
    let system = EmptySystem::new("echo engine $*; grep ' /var/lib/docker ' /proc/self/mountinfo | tail -1");
    system.prepare(ON_OVERLAY);
    let output = system.launch(&["dockerd", "--storage=tmpfs:64m", "--debug"]);
    assert_status(&output, 0);
    let text = text(&output);
    assert_has(&text, &["storage   overlay2 on tmpfs, in ", "engine -H fd:// --debug\n", "size=65536k"]);
    assert!(!text.contains("the system does not show it"), "prediction and new probe differ:\n{text}");
    let output = system.launch(&["dockerd", "--storage=loop"]);
    assert_status(&output, 125);
    assert_has(&empty_system::text(&output), &["no loop devices in a user namespace"]);
}

#[test]
fn ns_a_data_root_is_locked_while_its_engine_lives_pain_25() {
    for reap in ["true", "false"] {
        let system = EmptySystem::new(&format!(
            "flock -n /{LOCK} true || echo taken by $(cat /{LOCK}); dockerlaunch plan dockerd | grep storage.lock"
        ));
        system.configure(&[("DOCKER_LAUNCH_REAP", reap)], &[], "");
        let output = system.launch(&["dockerd"]);
        assert_status(&output, 0);
        assert_has(
            &text(&output),
            &[", pid 1 in pid:[", "ok    storage.lock   it is locked for the engine of this place\n"],
        );
        assert_has(&text(&output), &["taken by "]);
    }
}

/// Somebody else has it, and writes its name as the launcher does.
fn held(name: &str, holder: &str) -> String {
    format!(
        "mkdir -p var/lib/docker; echo '{name}' > {LOCK}
         flock {LOCK} {holder} &
         while flock -n {LOCK} true; do sleep 0.01; done"
    )
}

#[test]
fn ns_a_data_root_that_another_engine_uses_is_refused_with_its_name_pain_25() {
    let system = EmptySystem::new("echo the engine runs");
    let name = "runner-7, pid 1 in pid:[4026530000], since 2026-01-01T00:00:00Z";
    system.configure(&[("DOCKERLAUNCH_LOCK_TIMEOUT", "300ms")], &[], &held(name, "sleep 600"));
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 125);
    let said = text(&output);
    assert_has(
        &said,
        &[
            "another engine uses the data root /var/lib/docker",
            "locked by runner-7, pid 1",
            "hint: ",
            "--data-root",
        ],
    );
    assert!(!said.contains("the engine runs"), "{said}");
    // To look takes nothing, and waits for nobody.
    let output = system.launch(&["check", "dockerd"]);
    assert_status(&output, 1);
    assert_has(&text(&output), &["another engine uses", "locked by runner-7, pid 1"]);
}

#[test]
fn ns_a_data_root_that_becomes_free_is_waited_for_pain_25() {
    let system = EmptySystem::new("echo the engine runs");
    system.prepare(&held("runner-7, pid 1 in pid:[1], since then", "sleep 1"));
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&text(&output), &["waiting for /var/lib/docker: it is locked by runner-7", "the engine runs"]);
}

#[test]
fn ns_a_full_or_read_only_data_root_is_told_pain_26() {
    let row = |mount: &str, wanted: &[&str]| {
        let system = EmptySystem::new("echo the engine runs");
        system.prepare(&format!("mkdir -p var/lib/docker; {mount}"));
        let output = system.launch(&["dockerd"]);
        assert_has(&text(&output), wanted);
        (output.status.code(), text(&output).contains("the engine runs"))
    };
    let full = "mount -t tmpfs -o size=1m d var/lib/docker; head -c 2m /dev/zero > var/lib/docker/x || :";
    assert_eq!(
        row(full, &["/var/lib/docker (tmpfs) is full", "No space left", "-v docker-data:"]),
        (Some(125), false)
    );
    let inodes = "mount -t tmpfs -o nr_inodes=2 d var/lib/docker; : > var/lib/docker/x";
    assert_eq!(row(inodes, &["/var/lib/docker (tmpfs) is full"]), (Some(125), false));
    let read_only = "mount -t tmpfs -o ro d var/lib/docker";
    assert_eq!(row(read_only, &["/var/lib/docker (tmpfs) is read-only"]), (Some(125), false));
    let little = "mount -t tmpfs -o size=100m d var/lib/docker";
    let wanted = ["warning: the data root /var/lib/docker is nearly full: 100.0 MiB free of 100.0 MiB"];
    assert_eq!(row(little, &wanted), (Some(0), true));
    let system = EmptySystem::new("echo the engine runs");
    let prepare = format!("mkdir -p var/lib/docker; {read_only}");
    system.configure(&[("DOCKERLAUNCH_STORAGE", "tmpfs")], &[], &prepare);
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&text(&output), &["the engine runs"]);
}

/// Puts an archive of an image, and one that is none, where they are loaded from. /usr is the host's.
fn with_archives(stage: &str) -> String {
    let digest = "ab".repeat(32);
    let images = format!(
        "mkdir -p o/u/lib/dockerlaunch/images o/w t
         mount -t overlay -o lowerdir=/usr,upperdir=o/u,workdir=o/w,userxattr o usr
         (cd t; printf '[{{\"Config\":\"{digest}.json\"}}]' > manifest.json; head -c 9000 /dev/zero > layer
          tar cf ../usr/lib/dockerlaunch/images/base.tar layer manifest.json)
         echo nonsense > usr/lib/dockerlaunch/images/broken.tar"
    );
    stage.replace("mount --rbind -o ro /usr usr\n", &format!("{images}\n"))
}

/// Knows no image before one was loaded; a client asks while it is being loaded. The first socket is for TCP.
const SERVE: &str = r#"perl -MIO::Handle -MSocket -e '
      open(my $listener, "+<&=", 4) or die $!; my $loaded = 0;
      while (accept(my $client, $listener)) {
        my ($line, $length) = (scalar <$client>, 0);
        while (my $head = <$client>) { $length = $1 if $head =~ /^Content-Length: (\d+)/; last if $head eq "\r\n" }
        read($client, my $body, $length) if $length;
        my $status = $line =~ m{^GET /images/} && !$loaded ? 404 : 200;
        if ($line =~ /^POST/) { print "health ", system("dockerlaunch", "healthcheck"), "\n"; $loaded = 1 }
        $line =~ s/\r\n//; print "asked $line, $length bytes\n"; STDOUT->flush();
        print $client "HTTP/1.0 $status OK\r\n\r\n{}"; close $client;
      }' & "#;

#[test]
fn ns_an_engine_that_ends_while_images_are_loaded_was_never_ready_pain_27() {
    // The first one ends with the first question, and only then the connection does.
    let dies = SERVE.replace(
        "my ($line,",
        "kill KILL => $ENV{ENGINE}; select(undef, undef, undef, 0.01) while getppid == $ENV{ENGINE}; exit; my ($line,",
    );
    let engine = format!(
        "echo start >> /starts; trap 'exit 0' TERM; export ENGINE=$$
         if [ $(wc -l < /starts) = 1 ]; then {dies} else {SERVE} fi; {READY} while :; do sleep 0.05; done"
    );
    let system = EmptySystem::new(&engine);
    system.stage(|stage| with_archives(stage).replace("env -i", "env -i DOCKERLAUNCH_RESTART=on-failure"));
    let output = system.launch(&["run", "--", "sh", "-c", "echo job after $(wc -l < /starts)"]);
    assert_status(&output, 0);
    let said = text(&output);
    assert_has(&said, &["base.tar loaded in ", "job after 2\n"]);
    assert_eq!(said.matches("ready     ").count(), 1, "{said}");
}

/// What only the real engine's answers show is tried by the scenarios; here it is the order of things.
#[test]
fn ns_images_of_the_system_are_loaded_before_it_is_ready_and_never_twice_pain_27() {
    let engine = format!("trap 'exit 0' TERM; {SERVE} {READY} while :; do sleep 0.05; done");
    let system = EmptySystem::new(&engine);
    system.stage(with_archives);
    let job = "dockerlaunch healthcheck; echo job after $?";
    let output = system.launch(&["run", "--", "sh", "-c", job]);
    assert_status(&output, 0);
    let said = text(&output);
    assert_has(
        &said,
        &[
            "asked POST /images/load?quiet=1 HTTP/1.0, ",
            "base.tar loaded in ",
            "warning: the images in /usr/lib/dockerlaunch/images/broken.tar are not loaded: it is no archive",
            "images are still being loaded into the engine",
            "job after 0\n",
        ],
    );
    let at = |what: &str| said.find(what).unwrap_or_else(|| panic!("no `{what}` in:\n{said}"));
    assert!(at("base.tar loaded") < at("ready     "), "{said}");
    assert_eq!(said.matches("asked POST").count(), 1, "{said}");
    // The engine has it now.
    let knows = engine.replace("my $loaded = 0", "my $loaded = 1");
    std::fs::write(system.path().join("dockerd"), format!("#!/bin/sh\n{knows}\n")).expect("write");
    let output = system.launch(&["run", "--", "true"]);
    assert_status(&output, 0);
    assert_has(&text(&output), &["base.tar is there already"]);
    assert!(!text(&output).contains("asked POST"), "{}", text(&output));
}
