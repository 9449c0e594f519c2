//! The network interface of the container goes, and comes back with another address.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Fault, acknowledged, fault};
use crate::build::IMAGE;
use crate::command::{Outcome, eventually};
use crate::environment::Environment;
use crate::image::BOX;
use crate::nested::{self, Nested};

/// The area's table.
pub const FAULTS: &[Fault] = &[fault(
    "interface::another_address",
    "inner containers reach each other all the time, and the world again; clients by TLS are served by name at once, and by \
     the new address after a restart",
    another_address,
)];

/// A web server, for busybox.
const SERVE: &str = "mkdir /www; echo $0 > /www/index.html; exec httpd -f -p 80 -h /www";

fn another_address() -> Result<()> {
    let outer = Arc::new(nested::outer("faults-interface")?);
    let env: &dyn Environment = &*outer;
    env.docker(&["network", "create", "--subnet", "10.77.0.0/24", "one"])?;
    env.docker(&["run", "-d", "--name", "world", "--network", "one", BOX, "sh", "-c", SERVE, "world"])?;
    let options =
        ["--network", "one", "--ip", "10.77.0.50", "--network-alias", "docker", "-v", "certs:/certs/client"];
    let nested = Nested::run_with(Arc::clone(&outer), "moving", IMAGE, &options, &[])?.with_base_image()?;
    let inner: &dyn Environment = &nested;
    acknowledged::make(inner)?;
    inner.docker(&["network", "create", "own"])?;
    for (name, network) in [("beside", "own"), ("on-own", "own"), ("on-bridge", "bridge")] {
        inner.docker(&["run", "-d", "--name", name, "--network", network, BOX, "sh", "-c", SERVE, name])?;
    }
    works(env, inner, "10.77.0.50").context("before")?;

    env.docker(&["network", "disconnect", "one", "moving"])?;
    ensure!(fetch(inner, "on-own", "world")?.status != 0, "the world is reached without an interface");
    reaches(inner, "on-own", "beside").context("without an interface")?;

    env.docker(&["network", "connect", "--ip", "10.77.0.60", "--alias", "docker", "one", "moving"])?;
    works(env, inner, "docker").context("with another address")?;
    let refused = by_tls(env, "10.77.0.60")?;
    ensure!(
        refused.status != 0 && refused.stderr.contains("10.77.0.60"),
        "the certificate is not told to lack the new address: {}",
        refused.stderr
    );
    env.docker(&["restart", "moving"])?;
    by_tls(env, "10.77.0.60")?.success().context("by the new address, after a restart")?;
    by_tls(env, "docker")?.success().context("by name, after a restart")?;
    acknowledged::is_there(inner)?;
    drop(nested);
    let mut outer = Arc::into_inner(outer).context("somebody still holds the outer engine")?;
    outer.tear_down()
}

fn works(env: &dyn Environment, inner: &dyn Environment, address: &str) -> Result<()> {
    for from in ["on-own", "on-bridge"] {
        reaches(inner, from, "world")?;
    }
    reaches(inner, "on-own", "beside")?;
    inner.docker(&["run", "--rm", BOX, "true"])?;
    by_tls(env, address)?.success().map(drop)
}

/// A client by TLS, in a container beside the engine.
fn by_tls(env: &dyn Environment, address: &str) -> Result<Outcome> {
    let host = format!("DOCKER_HOST=tcp://{address}:2376");
    let tls =
        ["-e", "DOCKER_TLS_VERIFY=1", "-e", "DOCKER_CERT_PATH=/certs/client", "-v", "certs:/certs/client"];
    let head = ["run", "--rm", "--network", "one", "-e", &host];
    env.try_docker(&[&head, &tls[..], &[IMAGE, "docker", "version"]].concat())
}

/// What the server says by which it is known, with some tries: servers and routes need a moment.
fn reaches(inner: &dyn Environment, from: &str, server: &str) -> Result<()> {
    eventually(&format!("{from} reaches {server}"), Duration::from_secs(60), || {
        let said = fetch(inner, from, server)?.exits(0)?.text();
        ensure!(said == server, "it says: {said}");
        Ok(true)
    })
}

fn fetch(inner: &dyn Environment, from: &str, server: &str) -> Result<Outcome> {
    let script = format!("timeout 20 wget -q -O - http://{server}/; exit $?");
    inner.try_docker(&["exec", from, "sh", "-c", &script])
}
