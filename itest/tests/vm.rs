//! The `vm_` tier: one boot, looked at from several sides. This is where cgroup v2 and real modules are proved.

use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use itest::faults::clock;
use itest::suite::{Suite, told};
use itest::vm::{self, Boot, booted, firewall};
use itest::{Need, modules};

const NEEDS: &[Need] =
    &[Need::Busybox, Need::Kernel, Need::Program("qemu-system-x86_64"), Need::Program("cpio")];

/// Runs in the machine, when its engine is ready. Each line answers one of the tests below.
const SCRIPT: &str = r#"
b=/itest/busybox
say() { echo "itest: $1=$2"; }
handed() { $b cat /sys/fs/cgroup/cgroup.subtree_control; }
up() { word=$1; shift; /itest/from-scratch "$word" --name vm --state-dir /itest/state "$@"; }
# Before the engine's first container: it makes the machine's own root hand everything down.
before=$(handed)
say up_before "$before"
$b mkdir /itest/rootfs; $b cp -a /usr /itest/rootfs/
up up --network none --rootfs /itest/rootfs --timeout 120 --memory 1g -v /itest:/exchange > /dev/null
say up $?
say up_group "$($b cat /sys/fs/cgroup/from-scratch/vm/memory.max) $(handed | $b grep -c memory)"
up exec docker import /exchange/box.tar box > /dev/null
up exec docker run --rm --memory 16m --memory-swap 16m box dd if=/dev/zero of=/dev/null bs=64M count=1
say up_starved $?
up down --volumes
say up_down $?
[ "$before" = "$(handed)" ] && [ ! -e /sys/fs/cgroup/from-scratch ]
say up_traceless $?
$b rm -r /itest/rootfs
say cgroup "$($b awk '$2 == "/sys/fs/cgroup" {print $3}' /proc/mounts)"
say version "$(docker info --format '{{.CgroupVersion}} {{.Driver}}')"
docker import /itest/box.tar box > /dev/null
say import $?
say hello "$(docker run --rm box echo from a container)"
docker run --rm --memory 128m --memory-swap 128m box dd if=/dev/zero of=/dev/null bs=64M count=1
say enough $?
# Its shell outlives the kill: where all ends at once, containerd loses the event (its issue 8893).
docker run --name starved --memory 16m --memory-swap 16m box sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1; s=$?; sleep 3; exit $s'
say starved $?
say oom "$(docker inspect --format '{{.State.OOMKilled}}' starved)"
docker network create named > /dev/null
docker run -d --name server --network named box sh -c 'mkdir /www; echo by-name > /www/index.html; exec httpd -f -p 80 -h /www' > /dev/null
$b sleep 2
say network "$(docker run --rm --network named box sh -c 'timeout 20 wget -q -O - http://server/; exit $?')"
say modules "$($b awk '{printf "%s ", $1}' /proc/modules)"
docker kill server > /dev/null
say zombies "$($b ps -o stat,comm | $b grep -c '^Z')"
say done yes
exit 7
"#;

/// Containers that get less than everything, in a machine with cgroup v2.
const PODS: &str = r#"
b=/itest/busybox
say() { echo "itest: $1=$2"; }
docker import /itest/box.tar box > /dev/null
# A pod as Kubernetes makes it: privileged, and in the host's cgroup namespace. Fifty processes enter while it starts.
here="-v /usr:/usr:ro -v /itest:/itest -v /var/lib/docker"
dind="box /usr/bin/dockerlaunch dockerd"
docker run -d --name pod --privileged --cgroupns host --memory 1g $here $dind > /dev/null
i=0; while [ $i -lt 50 ]; do docker exec pod /itest/busybox true && echo yes >> /itest/stormed & i=$((i+1)); done; wait
say storm "$($b wc -l < /itest/stormed)"
docker exec pod docker import /itest/box.tar box > /dev/null
pod=$(docker inspect --format '{{.Id}}' pod)
inner=$(docker exec pod docker run -d --memory 64m --network none box sleep 1000)
say pod_inner "$([ -n "$inner" ] && $b find /sys/fs/cgroup -type d -name "$inner" | $b sed "s/$pod/POD/; s/$inner/INNER/")"
say pod_own "$($b cat /sys/fs/cgroup/docker/$pod/cgroup.procs | $b wc -l)"
docker rm -f -v pod > /dev/null
say pod_left "$($b find /sys/fs/cgroup -type d -name "$inner" | $b wc -l)"
# The least that is enough; and a score that its containers could not leave.
least="--cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined"
docker run -d --name least $least $here $dind > /dev/null
docker exec least docker import /itest/box.tar box > /dev/null
say least "$(docker exec least docker run --rm --memory 64m box echo works)"
docker rm -f -v least > /dev/null
say score "$(docker run --rm --oom-score-adj 500 $least $here box /usr/bin/dockerlaunch check | $b grep -c 'docker run --cap-add SYS_RESOURCE …')"
exit 0
"#;

fn main() -> ExitCode {
    Suite::new("vm", NEEDS)
        .test("vm_boots_and_powers_off", &[], || {
            let boot = boot()?;
            ensure!(boot.said("done")? == "yes");
            // qemu ends with 0 after a panic too, as that makes it reboot.
            ensure!(boot.log.contains("reboot: Power down"), "no power-off: {}", boot.tail());
            ensure!(boot.status == 0, "qemu ended with {}", boot.status);
            ensure!(!boot.log.contains("Kernel panic"), "{}", boot.tail());
            Ok(())
        })
        .test("vm_cgroup_v2", &[], || {
            ensure!(boot()?.said("cgroup")? == "cgroup2");
            expect("version", "2 overlay2")
        })
        // runc's pivot_root works in no initramfs, so this also proves that the root was moved.
        .test("vm_containers_run_pain_46", &[], || {
            expect("import", "0")?;
            expect("hello", "from a container")
        })
        .test("vm_memory_limit_bites", &[], || {
            expect("enough", "0")?;
            expect("starved", "137")?;
            expect("oom", "true")
        })
        .test("vm_up_on_cgroup_v2", &[], || {
            expect("up", "0")?;
            expect("up_group", "1073741824 1")?;
            expect("up_starved", "137")
        })
        .test("vm_up_leaves_no_trace_on_cgroup_v2", &[], || {
            let before = boot()?.said("up_before")?;
            ensure!(!before.contains("memory"), "`up` had nothing to hand down: {before}");
            expect("up_down", "0")?;
            expect("up_traceless", "0")
        })
        .test("vm_network_by_name", &[], || expect("network", "by-name"))
        .test("vm_modules_by_need_pain_37", &[], || {
            let modules = boot()?.said("modules")?;
            for module in ["overlay", "bridge", "veth", "nf_nat"] {
                ensure!(modules.split(' ').any(|loaded| loaded == module), "no {module} among: {modules}");
            }
            Ok(())
        })
        .test(
            "vm_modprobe_shows_what_kmod_shows_pain_37",
            &[Need::Program("modprobe")],
            modules::shown_as_by_kmod,
        )
        .test("vm_no_zombies_pain_14", &[], || expect("zombies", "0"))
        .test("vm_boot_runs_a_command_and_keeps_its_disk", &[], booted::command_and_disk)
        .longest("vm_less_than_everything_on_cgroup_v2_pains_5_6_23_35_41", &[], less_than_everything)
        .longest("vm_clock_set_forward_and_back", &[], || clock::set().context(clock::HOLDS))
        .longest("vm_firewall_where_nft_is_missing_pains_1_22", &[], firewall::legacy_alone)
        .longest("vm_firewall_where_legacy_is_missing_pain_1", &[], firewall::nft_alone)
        .run(|| Ok(()))
}

/// Of fifty processes that enter a container while its engine starts, none is refused, and none is in the way.
fn less_than_everything() -> Result<()> {
    let boot = vm::boot(PODS)?;
    for (word, answer) in [
        ("storm", "50"),
        ("pod_inner", "/sys/fs/cgroup/docker/POD/docker/INNER"),
        ("pod_own", "0"),
        ("pod_left", "0"),
        ("least", "works"),
        ("score", "1"),
    ] {
        let said = boot.said(word)?;
        ensure!(said == answer, "{word} is `{said}`, expected `{answer}`; the end:\n{}", boot.tail());
    }
    Ok(())
}

fn expect(word: &str, answer: &str) -> Result<()> {
    let boot = boot()?;
    let said = boot.said(word)?;
    ensure!(said == answer, "the machine said {word}={said}, expected {answer}; its end:\n{}", boot.tail());
    Ok(())
}

/// One boot for all tests.
fn boot() -> Result<&'static Boot> {
    static BOOT: OnceLock<Result<Boot, String>> = OnceLock::new();
    BOOT.get_or_init(|| vm::boot(SCRIPT).map_err(|error| told(&error)))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}
