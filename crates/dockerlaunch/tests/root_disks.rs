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
    let dir = tempfile::tempdir().expect("dir");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", ON_LOOPS, "sh"])
        .args([dir.path().to_str().expect("path"), env!("CARGO_BIN_EXE_dockerlaunch")])
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ours: ok storage.disk a loop device at "), "{said}{failed}");
    assert_eq!(said.matches("a loop device at").count(), 1, "{said}{failed}");
    assert_eq!(said.lines().count(), 3, "{said}{failed}");
}
