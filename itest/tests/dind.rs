//! The `nested_` tier, second part: our image where `docker:dind` is used today.

use std::process::ExitCode;
use std::sync::Arc;

use itest::suite::{Shared, Suite};
use itest::up::Instance;
use itest::{Need, dind, nested, security};

static OUTER: Shared<Instance> = Shared::new(|| nested::outer("dind"));

fn main() -> ExitCode {
    Suite::new("nested_dind", &[Need::Root, Need::Busybox])
        .test("paths_of_docker_dind", &[], || dind::paths_of_docker_dind(OUTER.get()?))
        .test("gitlab_service_with_tls", &[], || dind::gitlab_service_with_tls(OUTER.get()?))
        .long("gitlab_service_without_tls", &[], || dind::gitlab_service_without_tls(OUTER.get()?))
        .long("kubernetes_runner", &[], || dind::kubernetes_runner(OUTER.get()?))
        .test("jobs", &[], || dind::jobs(OUTER.get()?))
        .test("probes_restart_and_stop", &[], || dind::probes_restart_and_stop(OUTER.get()?))
        .long("devcontainer", &[], || dind::devcontainer(OUTER.get()?))
        .test("every_start_serves_every_client_pain_3", &[], || {
            dind::every_start_serves_every_client(OUTER.get()?)
        })
        .test("security::secrets_and_keys", &[], || security::secrets_and_keys(OUTER.get()?))
        .run(|| OUTER.take().and_then(Arc::into_inner).map_or(Ok(()), |mut outer| outer.tear_down()))
}
