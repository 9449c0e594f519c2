//! The `root_` tier: every scenario under `from-scratch up --network none`, in one instance that they share.

use std::process::ExitCode;

use itest::suite::{Shared, Suite, Turns};
use itest::up::Instance;
use itest::{Need, SCENARIOS, host_check, host_command, nodes, public_names, security, small_files, userns};

static UP: Shared<Instance> = Shared::new(|| Instance::start("root"));

/// What the host is looked at with.
const HOST_TOOLS: &[Need] = &[Need::Program("ip"), Need::Program("nft")];

/// What calls the socket as somebody else.
const PERL: &[Need] = &[Need::Program("perl")];

/// What lays a cable between two instances.
const CABLE: &[Need] = &[Need::Program("ip"), Need::Program("unshare"), Need::Program("nsenter")];

fn main() -> ExitCode {
    Suite::new("root_up", &[Need::Root, Need::Busybox, Need::Program("script")])
        .test("command::host_untouched", HOST_TOOLS, host_command::host_untouched)
        .test("check::of_this_host_pain_45", HOST_TOOLS, host_check::of_this_host)
        .test("check::without_root", &[], host_check::without_root)
        .test("command::nothing_runs", &[], host_command::nothing_runs)
        .test("command::without_root", &[], host_command::without_root)
        .test("command::up_twice", &[], host_command::up_twice)
        .test("command::side_by_side", &[], host_command::side_by_side)
        .test("command::killed_and_started_again", &[], host_command::killed_and_started_again)
        .test("command::socket_on_the_host", &[], || host_command::socket_on_the_host(&*UP.get()?))
        .test("firewall::both_backends_pain_1", &[], itest::firewall::both_backends)
        .test("security::host_out_of_sight", &[], || security::host_out_of_sight(&*UP.get()?))
        .test("security::listeners_and_files", PERL, || security::listeners_and_files(&*UP.get()?))
        .test("security::no_setuid_file", &[], security::no_setuid_file)
        .test("public_names::lead_to_programs", &[], || public_names::lead_to_programs(&*UP.get()?))
        .test("small_files::read_by_the_engine", &[], small_files::read_by_the_engine)
        .test("small_files::without_the_list_of_flags", &[], small_files::without_the_list_of_flags)
        .scenarios(Turns { days: 10, ahead: 0 }, &UP, SCENARIOS)
        .long("userns::remapped", &[], userns::remapped)
        .long("swarm::two_nodes", CABLE, nodes::two_nodes)
        .run(|| UP.take().map_or(Ok(()), take_down))
}

fn take_down(instance: std::sync::Arc<Instance>) -> anyhow::Result<()> {
    std::sync::Arc::into_inner(instance).map_or(Ok(()), |mut instance| instance.tear_down())
}
