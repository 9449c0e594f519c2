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
