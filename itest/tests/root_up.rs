//! The `root_` tier: every scenario under `from-scratch up --network none`, in one instance that they share.

use std::process::ExitCode;

use itest::suite::{Shared, Suite};
use itest::up::Instance;
use itest::{Need, SCENARIOS};

static UP: Shared<Instance> = Shared::new(|| Instance::start("root"));

fn main() -> ExitCode {
    Suite::new("root_up", &[Need::Root, Need::Busybox, Need::Program("script")])
        .scenarios(&UP, SCENARIOS)
        .run(|| UP.take().map_or(Ok(()), take_down))
}

fn take_down(instance: std::sync::Arc<Instance>) -> anyhow::Result<()> {
    std::sync::Arc::into_inner(instance).map_or(Ok(()), |mut instance| instance.tear_down())
}
