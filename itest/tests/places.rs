//! The `nested_` tier, third part: containers that an outer runtime gives less than everything.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use itest::suite::{Shared, Suite};
use itest::up::Instance;
use itest::{Need, nested, places};

/// The engine that they are nested in; it has our image.
static OUTER: Shared<Instance> = Shared::new(|| nested::outer("places"));

/// One whose containers are in user namespaces.
static REMAPPED: Shared<Instance> =
    Shared::new(|| nested::outer_with("remapped", &["--userns-remap=default"], ""));

fn main() -> ExitCode {
    Suite::new("nested_places", &[Need::Root, Need::Busybox])
        .long("pod_in_the_hosts_cgroups_pains_6_47", &[], || places::pod_in_the_hosts_cgroups(&*OUTER.get()?))
        .long("execs_while_it_starts_pain_5", &[], || places::execs_while_it_starts(&*OUTER.get()?))
        .long("cgroups_go_with_it_pain_6", &[], || places::cgroups_go_with_it(&*OUTER.get()?))
        .test("two_capabilities_pains_23_41", &[], || places::two_capabilities(&*OUTER.get()?))
        .long("no_capability_at_all_pain_41", &[], || places::no_capability_at_all(&*OUTER.get()?))
        .long("read_only_root_pain_41", &[], || places::read_only_root(&*OUTER.get()?))
        .long("user_namespace_pain_41", &[], || places::user_namespace(&*REMAPPED.get()?))
        .run(|| take_down(&OUTER).and(take_down(&REMAPPED)))
}

fn take_down(outer: &Shared<Instance>) -> Result<()> {
    outer.take().and_then(Arc::into_inner).map_or(Ok(()), |mut outer| outer.tear_down())
}
