//! A disk that hangs: only real root can stop one.

use std::fs;
use std::process::Command;

/// Mounts an ext4, freezes it, and lets it go again when the launcher has spoken: until then not even SIGKILL ends
/// who waits for it.
const HUNG: &str = r#"
set -eu
cd "$1"
truncate -s 32m image
mkfs.ext4 -q image
mkdir disk
mount -o loop image disk
trap 'fsfreeze -u disk || :; umount disk' EXIT
fsfreeze -f disk
env -i "$2" check dockerd --data-root "$1/disk/docker" > said 2>&1 &
tries=600
while [ $tries -gt 0 ] && ! grep -q 'ok\|stop' said; do sleep 0.1; tries=$((tries - 1)); done
fsfreeze -u disk
trap 'umount disk' EXIT
wait || :
"#;

#[test]
fn root_a_disk_that_hangs_does_not_hang_the_launcher_pain_26() {
    let dir = tempfile::tempdir().expect("dir");
    let launcher = env!("CARGO_BIN_EXE_dockerlaunch");
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", HUNG, "sh"])
        .args([dir.path().to_str().expect("path"), launcher])
        .output()
        .expect("unshare");
    let said = fs::read_to_string(dir.path().join("said")).unwrap_or_default();
    assert!(
        said.contains("/disk/docker (ext4) does not answer"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("hangs") && said.contains("hint: "), "{said}");
}

/// Runs a script with mounts of its own, a directory and the launcher: what it said on either stream.
fn run(script: &str) -> (String, String) {
    let dir = tempfile::tempdir().expect("dir");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([dir.path().to_str().expect("path"), env!("CARGO_BIN_EXE_dockerlaunch")])
        .output()
        .expect("unshare");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Two ext4 on loop devices: our image over the directory that it lies in, and somebody else's.
const ON_LOOPS: &str = r#"
set -eu
mount -t tmpfs on "$1"
cd "$1"
for image in ours/.dockerlaunch.ext4 theirs/disk; do
  mkdir "${image%/*}"
  truncate -s 16m $image
  mkfs.ext4 -q $image
  mount -o loop $image "${image%/*}"
done
mkdir theirs/docker
for root in ours theirs theirs/docker; do
  echo $root: $(env -i DOCKERLAUNCH_STORAGE=loop "$2" plan dockerd --data-root "$1/$root" | grep storage.disk)
done
umount ours theirs
"#;

#[test]
fn root_only_our_own_image_over_the_data_root_counts_as_a_loop_device_pain_4() {
    let (said, failed) = run(ON_LOOPS);
    assert!(said.contains("ours: ok storage.disk a loop device at "), "{said}{failed}");
    assert_eq!(said.matches("a loop device at").count(), 1, "{said}{failed}");
    assert_eq!(said.lines().count(), 3, "{said}{failed}");
}

/// A disk is looked at while it is empty, with an ext4, when somebody else has it, at its place, and with half of something on it.
const DISK: &str = r#"
set -eu
mount -t tmpfs on "$1"
cd "$1"
mkdir root elsewhere
truncate -s 32m image
disk=$(losetup --find --show image)
trap 'umount elsewhere root 2> /dev/null || :; losetup --detach $disk; cd /; umount "$1"' EXIT
look() {
  env -i DOCKERLAUNCH_STORAGE=$disk PATH="$PATH" "$2" plan dockerd --data-root "$1/root" > said 2>&1 || :
  echo "$3: $(grep -A2 -e storage.disk -e "$disk" said | tr -s '\n ' '  ')"
}
look "$1" "$2" empty
mkfs.ext4 -q $disk
look "$1" "$2" ext4
mount $disk elsewhere
look "$1" "$2" taken
umount elsewhere
mount $disk root
look "$1" "$2" there
umount root
printf LUKS | dd of=$disk conv=notrunc,fsync status=none
dd if=/dev/zero of=$disk bs=1k seek=1 count=4 conv=notrunc,fsync status=none
look "$1" "$2" unknown
"#;

#[test]
fn root_a_disk_is_known_by_what_is_on_it_and_never_shared_pain_25() {
    let (said, failed) = run(DISK);
    let line = |word: &str| said.lines().find(|line| line.starts_with(word)).unwrap_or_default();
    for (word, told) in [
        ("empty", "make an ext4 on /dev/loop"),
        ("ext4", "mount /dev/loop"),
        ("taken", "cannot be had"),
        ("there", "ok storage.disk /dev/loop"),
        ("unknown", "holds neither ext4 nor xfs"),
    ] {
        assert!(line(word).contains(told), "{word}: no `{told}` in:\n{said}{failed}");
    }
}
