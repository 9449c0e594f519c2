//! A swarm of one node. Services have no virtual address here (`--endpoint-mode dnsrr`) and ports of their node's own
//! (`mode=host`), as kernels without `IP_VS`, such as many virtual machines', have nothing for the other ways.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "swarm::replicas_update_and_rollback",
        "two replicas find each other by name, are updated one after the other, and rolled back",
        replicas_update_and_rollback,
    ),
    scenario(
        "swarm::secrets_configs_and_ports",
        "a service's secret, configuration and port are there, and leaving the swarm takes all of it along",
        secrets_configs_and_ports,
    ),
];

/// What takes a kernel with `IP_VS`.
pub const MESH: &[Scenario] = &[scenario(
    "swarm::routing_mesh",
    "a port of a service leads to each of its replicas in turn, and so does the one address that its name has",
    routing_mesh,
)];

/// Where nobody listens, so that asking for the image there fails at once and the one that is here is taken.
pub const IMAGE: &str = "127.0.0.1:9/box:swarm";

/// Generous, as a machine may be slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Serves what its variable says, and says the same on standard output.
pub const SERVE: &str =
    "echo serving $WORD; mkdir /www; echo $WORD > /www/index.html; exec httpd -f -p 80 -h /www";

/// A swarm for as long as `run` takes.
fn in_a_swarm(env: &dyn Environment, run: impl FnOnce() -> Result<()>) -> Result<()> {
    env.docker(&["tag", BOX, IMAGE])?;
    env.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"])?;
    let result = run();
    env.docker(&["swarm", "leave", "--force"])?;
    result?;
    let state = env.docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"])?;
    ensure!(state == "inactive", "after leaving the swarm is {state}");
    // The containers go with it, a moment later; only then the bridge can go that the engine has made for them.
    eventually("no container of the swarm is left", PATIENCE, || {
        Ok(env.docker(&["ps", "--all", "--quiet", "--filter", "label=com.docker.swarm.task"])?.is_empty())
    })?;
    eventually("the swarm's bridge can be removed", PATIENCE, || {
        Ok(env.try_docker(&["network", "rm", "docker_gwbridge"])?.status == 0)
    })?;
    env.docker(&["rmi", IMAGE]).map(drop)
}

/// Ids of the containers of a service that run here.
pub fn containers(env: &dyn Environment, service: &str) -> Result<Vec<String>> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    Ok(env.docker(&["ps", "--quiet", "--filter", &filter])?.lines().map(str::to_owned).collect())
}

/// Until that many replicas run.
pub fn runs(env: &dyn Environment, service: &str, replicas: &str) -> Result<()> {
    let mut seen = String::new();
    let filter = format!("name={service}");
    eventually(&format!("{replicas} replicas of {service} run"), PATIENCE, || {
        seen = env.docker(&["service", "ls", "--filter", &filter, "--format", "{{.Replicas}}"])?;
        Ok(seen == format!("{replicas}/{replicas}"))
    })
    .map_err(|error| {
        let tasks = env.docker(&["service", "ps", "--no-trunc", service]).unwrap_or_default();
        error.context(format!("{service} has {seen}: {tasks}"))
    })
}

/// What all replicas answer, asked from one of them by the service's name.
fn answers(env: &dyn Environment, service: &str) -> Result<Vec<String>> {
    let one = containers(env, service)?.into_iter().next().context("no container runs")?;
    let script = format!(
        "for a in $(nslookup {service} | awk '/^Name:/ {{named = 1}} named && /^Address/ {{print $NF}}' | sort -u); \
         do timeout 5 wget -q -O - http://$a/ || echo silent; done"
    );
    let said = env.docker(&["exec", &one, "sh", "-c", &script])?;
    Ok(said.lines().map(str::to_owned).collect())
}

fn answers_become(env: &dyn Environment, service: &str, wanted: &[&str]) -> Result<()> {
    let mut seen = Vec::new();
    eventually(&format!("the replicas of {service} answer {wanted:?}"), PATIENCE, || {
        seen = answers(env, service)?;
        Ok(seen == wanted)
    })
    .map_err(|error| error.context(format!("they answer {seen:?}")))
}

fn update_becomes(env: &dyn Environment, service: &str, wanted: &str) -> Result<()> {
    let inspect = ["service", "inspect", "--format", "{{.UpdateStatus.State}}", service];
    eventually(&format!("the update of {service} is {wanted}"), PATIENCE, || {
        Ok(env.docker(&inspect)? == wanted)
    })
}

fn replicas_update_and_rollback(env: &dyn Environment) -> Result<()> {
    in_a_swarm(env, || {
        env.docker(&["network", "create", "--driver", "overlay", "mesh"])?;
        #[rustfmt::skip]
        let create = [
            "service", "create", "--quiet", "--name", "words", "--replicas", "2", "--network", "mesh", "--endpoint-mode", "dnsrr",
            "--no-resolve-image", "--update-parallelism", "1", "--update-delay", "1s", "--update-monitor", "1s",
            "--stop-grace-period", "1s", "--env", "WORD=one", IMAGE, "sh", "-c", SERVE,
        ];
        env.docker(&create)?;
        runs(env, "words", "2")?;
        answers_become(env, "words", &["one", "one"])?;
        let logs = env.docker(&["service", "logs", "--raw", "words"])?;
        ensure!(logs.matches("serving one").count() == 2, "the service's log: {logs}");

        env.docker(&["service", "update", "--quiet", "--env-add", "WORD=two", "words"])?;
        answers_become(env, "words", &["two", "two"])?;
        update_becomes(env, "words", "completed")?;
        one_after_the_other(env)?;

        env.docker(&["service", "rollback", "--quiet", "words"])?;
        answers_become(env, "words", &["one", "one"])?;
        update_becomes(env, "words", "rollback_completed")?;
        env.docker(&["service", "scale", "words=1"])?;
        answers_become(env, "words", &["one"])?;
        env.docker(&["service", "rm", "words"]).map(drop)
    })
}

/// Of two replicas the second ended only when the first was there again.
fn one_after_the_other(env: &dyn Environment) -> Result<()> {
    let tasks = env.docker(&["service", "ps", "--quiet", "--no-trunc", "words"])?;
    let format = "{{.Slot}} {{.Status.State}} {{.Status.Timestamp}}";
    let inspect = ["inspect", "--type", "task", "--format", format];
    let told = env.docker(&[&inspect[..], &tasks.lines().collect::<Vec<_>>()].concat())?;
    let at = |slot: &str, state: &str| {
        let start = format!("{slot} {state} ");
        told.lines()
            .find_map(|line| line.strip_prefix(&start))
            .with_context(|| format!("no `{start}` in: {told}"))
    };
    let first_is_back = std::cmp::min(at("1", "running")?, at("2", "running")?);
    let second_ended = std::cmp::max(at("1", "shutdown")?, at("2", "shutdown")?);
    ensure!(first_is_back < second_ended, "both were away at the same time: {told}");
    Ok(())
}

fn secrets_configs_and_ports(env: &dyn Environment) -> Result<()> {
    in_a_swarm(env, || {
        env.docker_with_input(&["secret", "create", "password", "-"], b"open sesame")?.success()?;
        env.docker_with_input(&["config", "create", "page", "-"], b"configured")?.success()?;
        let script = "mkdir /www; cp /page /www/index.html; exec httpd -f -p 80 -h /www";
        #[rustfmt::skip]
        let create = [
            "service", "create", "--quiet", "--name", "vault", "--endpoint-mode", "dnsrr", "--no-resolve-image",
            "--secret", "source=password,mode=0400", "--config", "source=page,target=/page",
            "--publish", "mode=host,target=80,published=8087", IMAGE, "sh", "-c", script,
        ];
        env.docker(&create)?;
        runs(env, "vault", "1")?;
        let one = containers(env, "vault")?.into_iter().next().context("no container runs")?;
        let script = "cat /run/secrets/password; stat -c ' %a %u' /run/secrets/password; grep -c '/run/secrets/password tmpfs' /proc/mounts";
        let secret = env.docker(&["exec", &one, "sh", "-c", script])?;
        ensure!(secret == "open sesame 400 0\n1", "the secret: {secret}");
        let told = env.docker(&["inspect", &one])? + &env.docker(&["secret", "inspect", "password"])?;
        ensure!(!told.contains("sesame") && !told.contains("b3BlbiBzZXNhbWU"), "the secret is told: {told}");
        let script = "timeout 5 wget -q -O - http://127.0.0.1:8087/; exit $?";
        eventually("the published port answers", PATIENCE, || {
            let page = env.docker(&["run", "--rm", "--network", "host", BOX, "sh", "-c", script])?;
            Ok(page == "configured")
        })?;
        // As a user may: with all of it still there.
        Ok(())
    })?;
    let left = env.try_docker(&["secret", "ls"])?;
    ensure!(left.status != 0 && left.stderr.contains("not a swarm manager"), "{}", left.stderr);
    Ok(())
}

fn routing_mesh(env: &dyn Environment) -> Result<()> {
    in_a_swarm(env, || {
        env.docker(&["network", "create", "--driver", "overlay", "mesh"])?;
        let script = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www";
        #[rustfmt::skip]
        let create = [
            "service", "create", "--quiet", "--name", "mesh", "--replicas", "2", "--network", "mesh", "--no-resolve-image",
            "--publish", "8089:80", "--stop-grace-period", "1s", IMAGE, "sh", "-c", script,
        ];
        env.docker(&create)?;
        runs(env, "mesh", "2")?;
        let names = containers(env, "mesh")?;
        let one = names.first().context("no container runs")?;
        let found = env.docker(&["exec", one, "nslookup", "mesh"])?;
        let addresses = found.lines().skip_while(|line| !line.starts_with("Name:"));
        let addresses = addresses.filter(|line| line.starts_with("Address")).count();
        ensure!(addresses == 1, "the service's name has {addresses} addresses: {found}");
        let gateway = "{{(index .IPAM.Config 0).Gateway}}";
        let node = env.docker(&["network", "inspect", "docker_gwbridge", "--format", gateway])?;
        let ask = |address: &str| {
            format!(
                "i=0; while [ $i -lt 8 ]; do timeout 5 wget -q -O - http://{address}/; i=$((i+1)); done; true"
            )
        };
        let both_answer = |who: &str, command: &[&str]| {
            let mut seen = String::new();
            eventually(&format!("both replicas answer {who}"), PATIENCE, || {
                seen = env.docker(command)?;
                Ok(names.iter().all(|name| seen.contains(name)))
            })
            .map_err(|error| error.context(format!("{names:?} answer {seen}")))
        };
        let head = ["run", "--rm", "--network", "host", BOX, "sh", "-c"];
        both_answer("at the node's port", &[&head[..], &[&ask(&format!("{node}:8089"))]].concat())?;
        both_answer("by the service's name", &["exec", one, "sh", "-c", &ask("mesh")])?;
        env.docker(&["service", "rm", "mesh"]).map(drop)
    })
}
