//! Pull and push against a real registry, over TLS with a CA of its own.
//!
//! It runs in the environment's own network, and is called by the address of the engine's bridge: on loopback the engine
//! would not look at certificates.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::command::eventually;
use crate::environment::Exchange;
use crate::image::{self, BOX};
use crate::{Environment, Need, command};

const NEEDS: &[Need] = &[Need::Registry, Need::Program("openssl")];

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "registry::push_and_pull",
        "an image is pushed and pulled again, by tag and by digest, and is the same",
        push_and_pull,
    )
    .needs(NEEDS),
    scenario(
        "registry::certificates",
        "a registry is trusted by its own CA alone; another one is refused, and why",
        certificates,
    )
    .needs(NEEDS),
    scenario(
        "registry::login",
        "a registry with a password serves who has logged in, until the logout",
        login,
    )
    .needs(NEEDS),
];

const CONTAINER: &str = "registry";
const IMAGE: &str = "registry:itest";
const PORT: u16 = 5443;
const PASSWORD: &str = "open sesame";
/// `crypt(PASSWORD, "$2y$05$itest…")`: bcrypt is the only kind that the registry takes.
const PASSWORD_FILE: &str = "ali:$2y$05$itestitestitestitestieyz.8wZisS5K5AnTpYNbEgQR3PU1/quW\n";

/// A running registry with certificates for its address.
struct Registry<'a> {
    env: &'a dyn Environment,
    /// `ADDRESS:PORT`, as it stands in names of images.
    address: String,
    files: Exchange,
}

impl<'a> Registry<'a> {
    fn start(env: &'a dyn Environment, auth: &str) -> Result<Self> {
        let gateway =
            env.docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])?;
        // One that a scenario left when it failed would hold the port.
        env.remove(&[CONTAINER])?;
        let files = env.exchange().directory(CONTAINER)?;
        certify(&files, "ca", &gateway)?;
        files.write("htpasswd", PASSWORD_FILE)?;
        files.write(
            "config.yml",
            format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: /data}}}}\n\
                 http: {{addr: ':{PORT}', tls: {{certificate: /files/ca-server.pem, key: /files/ca-server.key}}}}\n{auth}"
            ),
        )?;
        let entry = ["import", "--change", "ENTRYPOINT [\"/bin/docker-registry\"]", "-", IMAGE];
        env.docker_with_input(&entry, &image::registry_rootfs()?)?.success()?;
        let mount = format!("{}:/files", files.inside);
        let run = ["run", "-d", "--name", CONTAINER, "--network", "host", "-v", &mount, IMAGE];
        env.docker(&[&run[..], &["serve", "/files/config.yml"]].concat())?;
        let registry = Registry { env, address: format!("{gateway}:{PORT}"), files };
        registry.wait()?;
        Ok(registry)
    }

    /// Until it takes connections; one that has ended will not, and says why.
    fn wait(&self) -> Result<()> {
        // A socket that listens; without IPv6 there is one file only.
        let script = format!("cat /proc/net/tcp* | grep ':{PORT:04X} .* 0A '");
        eventually("the registry takes connections", Duration::from_secs(30), || {
            let running = self.env.docker(&["inspect", "--format", "{{.State.Running}}", CONTAINER])?;
            ensure!(running == "true", "it ended: {}", self.log()?);
            let tried =
                self.env.try_docker(&["run", "--rm", "--network", "host", BOX, "sh", "-c", &script])?;
            Ok(tried.status == 0)
        })
    }

    fn log(&self) -> Result<String> {
        let outcome = self.env.try_docker(&["logs", CONTAINER])?;
        Ok(format!("{}{}", outcome.text(), outcome.stderr))
    }

    /// The engine takes certificates signed by this CA for the registry's address, from now on.
    fn trust(&self, ca: &str) -> Result<()> {
        let directory = format!("/system/docker/certs.d/{}", self.address);
        self.in_etc(&format!("mkdir -p {directory} && cp /files/{ca}.pem {directory}/ca.crt"))
    }

    fn in_etc(&self, script: &str) -> Result<()> {
        let files = format!("{}:/files:ro", self.files.inside);
        let mounts = ["run", "--rm", "-v", "/etc:/system", "-v", &files];
        self.env.docker(&[&mounts[..], &[BOX, "sh", "-c", script]].concat()).map(drop)
    }

    /// An image with a layer of its own under a name of this registry.
    fn image(&self, content: &str) -> Result<String> {
        let name = format!("{}/itest/thing:1", self.address);
        let write = format!("echo {content} > /thing");
        self.env.docker(&["run", "--name", "pushed", BOX, "sh", "-c", &write])?;
        self.env.docker(&["commit", "--change", "CMD cat /thing", "pushed", &name])?;
        self.env.remove(&["pushed"])?;
        Ok(name)
    }

    fn stop(self) -> Result<()> {
        self.env.remove(&[CONTAINER])?;
        self.env.docker(&["rmi", IMAGE])?;
        self.in_etc(&format!(
            "cd /system; rm -rf docker/certs.d/{}; rmdir docker/certs.d docker 2> /dev/null; true",
            self.address
        ))
    }
}

/// `NAME.pem`, a CA, and with its signature `NAME-server.pem` for this address.
fn certify(files: &Exchange, name: &str, address: &str) -> Result<()> {
    let make = |arguments: String| {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command::run(openssl.args(arguments.split(' ')).current_dir(&files.outside), b"")?.exits(0)
    };
    make(format!("-subj /CN=itest-{name} -keyout {name}.key -out {name}.pem"))?;
    make(format!(
        "-subj /CN={address} -addext subjectAltName=IP:{address} -CA {name}.pem -CAkey {name}.key \
         -keyout {name}-server.key -out {name}-server.pem"
    ))
    .map(drop)
}

/// `sha256:…` in what `docker push` and `docker pull` print.
fn digest(said: &str) -> Result<&str> {
    said.split_whitespace()
        .find(|word| word.starts_with("sha256:"))
        .with_context(|| format!("no digest in: {said}"))
}

fn push_and_pull(env: &dyn Environment) -> Result<()> {
    let registry = Registry::start(env, "")?;
    registry.trust("ca")?;
    let name = registry.image("there and back")?;
    let id = env.docker(&["inspect", "--format", "{{.Id}}", &name])?;
    let pushed = env.docker(&["push", &name])?;
    let digest = digest(&pushed)?;
    let by_digest = format!("{}/itest/thing@{digest}", registry.address);
    env.docker(&["rmi", &name])?;
    ensure!(env.try_docker(&["image", "inspect", &id])?.status != 0, "the image is still there");

    let pulled = env.docker(&["pull", &name])?;
    ensure!(pulled.contains(&format!("Digest: {digest}")), "pushed: {pushed}\npulled: {pulled}");
    ensure!(env.docker(&["inspect", "--format", "{{.Id}}", &name])? == id, "it is another image");
    let digests = env.docker(&["inspect", "--format", "{{.RepoDigests}}", &name])?;
    ensure!(digests.contains(&by_digest), "{digests}");
    ensure!(env.docker(&["run", "--rm", &name])? == "there and back");
    env.docker(&["rmi", &name])?;

    // `run` pulls what is not there.
    ensure!(env.docker(&["run", "--rm", &by_digest])? == "there and back");
    env.docker(&["rmi", &by_digest])?;
    let unknown = env.try_docker(&["pull", &format!("{}/itest/nothing:1", registry.address)])?;
    ensure!(unknown.status != 0 && unknown.stderr.contains("not found"), "{}", unknown.stderr);
    registry.stop()
}

fn certificates(env: &dyn Environment) -> Result<()> {
    let registry = Registry::start(env, "")?;
    let name = registry.image("for the trusting")?;
    let refused = |why: &str| -> Result<()> {
        let outcome = env.try_docker(&["push", &name])?;
        ensure!(
            outcome.status != 0 && outcome.stderr.contains("certificate signed by unknown authority"),
            "{why}, a push gave {}: {}",
            outcome.status,
            outcome.stderr
        );
        Ok(())
    };
    refused("without a CA")?;
    let (address, _) = registry.address.split_once(':').context("an address without a port")?;
    certify(&registry.files, "stranger", address)?;
    registry.trust("stranger")?;
    refused("with another CA")?;
    registry.trust("ca")?;
    env.docker(&["push", &name])?;
    env.docker(&["rmi", &name])?;
    registry.stop()
}

fn login(env: &dyn Environment) -> Result<()> {
    let auth = "auth: {htpasswd: {realm: itest, path: /files/htpasswd}}\n";
    let registry = Registry::start(env, auth)?;
    registry.trust("ca")?;
    let name = registry.image("for members")?;
    // The client's own files stay as they are.
    let client = format!("{}/client", registry.files.inside);
    let docker = |words: &[&str], input: &str| {
        env.docker_with_input(&[&["--config", &client], words].concat(), input.as_bytes())
    };
    let log_in = ["login", "--username", "ali", "--password-stdin", &registry.address];
    let refused = |words: &[&str], input: &str, why: &str| -> Result<()> {
        let outcome = docker(words, input)?;
        ensure!(outcome.status != 0 && outcome.stderr.contains(why), "{words:?}: {}", outcome.stderr);
        Ok(())
    };
    refused(&["push", &name], "", "no basic auth credentials")?;
    refused(&log_in, "open barley", "401 Unauthorized")?;
    ensure!(docker(&log_in, PASSWORD)?.success()?.contains("Login Succeeded"));
    docker(&["push", &name], "")?.exits(0)?;
    env.docker(&["rmi", &name])?;
    docker(&["pull", &name], "")?.exits(0)?;
    docker(&["logout", &registry.address], "")?.exits(0)?;
    env.docker(&["rmi", &name])?;
    refused(&["pull", &name], "", "no basic auth credentials")?;
    registry.stop()
}
