//! The `root_` tier: what takes components that are not in the default profile, under `up --with …`.

use std::process::ExitCode;
use std::sync::Arc;

use itest::scenarios::components;
use itest::suite::{Shared, Suite, Turns};
use itest::up::{Instance, Options};
use itest::{EXTRAS, Need};

static UP: Shared<Instance> = Shared::new(|| {
    Instance::start_with(
        "extras",
        &Options { up: &["--with", &components(EXTRAS.iter().copied().flatten())], ..Options::default() },
    )
});

fn main() -> ExitCode {
    Suite::new("root_extras", &[Need::Root, Need::Busybox])
        .scenarios(Turns { days: 10, ahead: 0 }, &UP, EXTRAS)
        .run(|| UP.take().and_then(Arc::into_inner).map_or(Ok(()), |mut instance| instance.tear_down()))
}
