//! Plans for known kinds of systems, as snapshots. The facts of each stand in `fixtures/hosts/NAME/facts.json`.

use std::collections::BTreeMap;
use std::path::Path;

use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::Entry;
use dockerlaunch_plan::{Facts, plan, render};

#[allow(clippy::disallowed_methods, reason = "a test may read its fixtures")]
fn facts(host: &str) -> Facts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts").join(host).join("facts.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("fixture")).expect("facts")
}

fn shown(host: &str) -> String {
    shown_for(Engine::with_defaults(&[]), &facts(host))
}

fn dockerd(args: &[&str]) -> Engine {
    Engine::new("dockerd", &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
}

fn shown_for(engine: Engine, facts: &Facts) -> String {
    let plan = plan(&Config::new(engine, &BTreeMap::new()), facts);
    let mut text = render::plan(&plan);
    for problem in plan.blockers() {
        text += &format!("\n{}", render::problem(problem));
    }
    text
}

macro_rules! hosts {
    ($($test:ident: $host:literal),* $(,)?) => { $(
        #[test]
        fn $test() {
            insta::assert_snapshot!($host, shown($host));
        }
    )* };
}

hosts! {
    the_kernels_init_in_an_initramfs: "vm-initramfs",
    a_bare_sandbox_on_hybrid_cgroups: "sandbox-hybrid",
    a_privileged_container_on_cgroup_v2: "privileged-container-v2",
    a_container_without_privileges: "unprivileged-container",
    a_user_namespace: "user-namespace",
    a_container_started_again_after_a_crash: "restarted-container",
}

#[test]
fn a_bridge_of_ones_own_with_an_address() {
    let args = ["--bip", "10.9.0.1/24", "-b", "br0", "--debug"];
    insta::assert_snapshot!(shown_for(dockerd(&args), &facts("privileged-container-v2")));
}

#[test]
fn a_base_image_with_wrapped_programs() {
    let mut facts = facts("privileged-container-v2");
    // Without our own: the base image's originals are all there is.
    facts.paths.retain(|path, _| !path.starts_with("/usr/lib/dockerlaunch/bin"));
    for path in
        ["/usr/bin/docker.dist", "/usr/sbin/iptables.dist", "/sbin/iptables.dist", "/sbin/modprobe.dist"]
    {
        facts.paths.insert(path.into(), Entry::File(0o755));
    }
    insta::assert_snapshot!(shown_for(dockerd(&[]), &facts));
}
