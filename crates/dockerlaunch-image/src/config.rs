//! The image's configuration: how a container engine runs it.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{Config, ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, Os, RootFsBuilder};
use serde::Serialize;

use crate::digest::Digest;
use crate::request::Arch;

/// How the image is run. `from-scratch up` reads it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageConfig {
    /// Program and arguments.
    pub entrypoint: Vec<String>,
    /// Environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Directories that get a volume of their own.
    pub volumes: Vec<String>,
    /// Ports, as `NUMBER/PROTOCOL`.
    pub exposed_ports: Vec<String>,
    /// Signal that stops it.
    pub stop_signal: String,
    /// Command of the health check.
    pub healthcheck: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What a component's programs cannot find by themselves in the private directory.
const ENV: &[(&str, &str)] = &[
    ("iptables", "XTABLES_LIBDIR=/usr/lib/dockerlaunch/xtables"),
    // No templates: else git warns that their directory is missing.
    ("git", "GIT_TEMPLATE_DIR="),
];

/// The label that names the suite: images without it are not ours.
pub(crate) const SUITE_LABEL: &str = "io.from-scratch.suite";

/// What the history of an image says of each of our layers, before the layer's name.
pub(crate) const CREATED_BY: &str = "from-scratch build";

/// Nanoseconds, the unit of Docker's health check fields.
const SECOND: u64 = 1_000_000_000;

impl ImageConfig {
    /// The configuration of an image of these components, with these labels besides the fixed ones.
    #[must_use]
    pub fn new<'a>(components: impl IntoIterator<Item = &'a str>, labels: BTreeMap<String, String>) -> Self {
        let strings = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        let mut labels = labels;
        for (name, value) in [
            ("org.opencontainers.image.title", "Docker FROM scratch"),
            ("org.opencontainers.image.description", "Docker in an image that holds nothing else"),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
        ] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        let variables = |component: &str| {
            let of_it = ENV.iter().filter(|(owner, _)| *owner == component);
            of_it.map(|(_, variable)| (*variable).to_owned()).collect::<Vec<_>>()
        };
        let mut image = Self {
            entrypoint: strings(&["/usr/bin/dockerlaunch"]),
            env: strings(&[
                "PATH=/usr/lib/dockerlaunch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "DOCKER_TLS_CERTDIR=/certs",
            ]),
            volumes: strings(&["/var/lib/docker"]),
            exposed_ports: strings(&["2375/tcp", "2376/tcp"]),
            stop_signal: "SIGTERM".to_owned(),
            healthcheck: strings(&["CMD", "/usr/bin/dockerlaunch", "healthcheck"]),
            labels,
        };
        image.env.extend(components.into_iter().flat_map(variables));
        image
    }

    /// Sets environment variables and labels, besides or in place of those that are there.
    pub(crate) fn extend(&mut self, env: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) {
        for (name, value) in env {
            self.env.retain(|entry| entry.split('=').next() != Some(name));
            self.env.push(format!("{name}={value}"));
        }
        self.labels.extend(labels.clone());
    }

    /// Those of its labels that have a meaning for everybody: registries show them, and read the manifest alone.
    pub(crate) fn annotations(&self) -> HashMap<String, String> {
        let known = self.labels.iter().filter(|(name, _)| name.starts_with("org.opencontainers.image."));
        known.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn oci(&self) -> Result<Config, oci_spec::OciSpecError> {
        ConfigBuilder::default()
            .entrypoint(self.entrypoint.clone())
            .env(self.env.clone())
            .volumes(self.volumes.clone())
            .exposed_ports(self.exposed_ports.clone())
            .stop_signal(self.stop_signal.clone())
            .labels(self.labels.clone().into_iter().collect::<HashMap<_, _>>())
            .build()
    }

    /// The configuration document, in the bytes whose digest is the image's id.
    pub(crate) fn to_json(
        &self,
        arch: Arch,
        layers: &[(&str, Digest)],
        epoch: u64,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let created = timestamp(epoch)?;
        let diff_ids: Vec<String> = layers.iter().map(|(_, diff_id)| diff_id.to_string()).collect();
        let history = layers
            .iter()
            .map(|(name, _)| {
                let by = format!("{CREATED_BY}: {name}");
                HistoryBuilder::default().created(created.clone()).created_by(by).build()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let document = ImageConfigurationBuilder::default()
            .architecture(arch.oci())
            .os(Os::Linux)
            .created(created)
            .config(self.oci()?)
            .rootfs(RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build()?)
            .history(history)
            .build()?;
        let mut value = serde_json::to_value(document)?;
        if let Some(variant) = arch.variant() {
            value["variant"] = variant.into();
        }
        // Docker's own field; the OCI specification has none for health checks.
        value["config"]["Healthcheck"] = serde_json::json!({
            "Test": self.healthcheck,
            "Interval": 10 * SECOND,
            "Timeout": 5 * SECOND,
            "StartPeriod": 30 * SECOND,
            "Retries": 3,
        });
        // A `Value`'s maps are sorted, so the hash maps of oci-spec leave no trace of their order.
        Ok(serde_json::to_vec(&value)?)
    }
}

pub(crate) fn timestamp(epoch: u64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(jiff::Timestamp::from_second(i64::try_from(epoch)?)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_sets_comes_in_place_of_ours() {
        let mut config = ImageConfig::new([], BTreeMap::new());
        let set = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        config.extend(&set("DOCKER_TLS_CERTDIR", ""), &set("org.opencontainers.image.title", "Ours"));
        assert!(config.env.contains(&"DOCKER_TLS_CERTDIR=".to_owned()));
        assert!(!config.env.contains(&"DOCKER_TLS_CERTDIR=/certs".to_owned()));
        assert_eq!(config.labels["org.opencontainers.image.title"], "Ours");
    }

    #[test]
    fn the_document_is_what_docker_expects() {
        let config = ImageConfig::new(["git"], BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let layers = [("engine", Digest::of(b"")), ("cli", Digest::of(b"x"))];
        let json = config.to_json(Arch::Amd64, &layers, 0).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["architecture"], "amd64");
        assert_eq!(value["created"], "1970-01-01T00:00:00Z");
        assert_eq!(value["config"]["Entrypoint"][0], "/usr/bin/dockerlaunch");
        assert!(value["config"].get("Cmd").is_none());
        let env = value["config"]["Env"].as_array().unwrap();
        assert!(env.contains(&"DOCKER_TLS_CERTDIR=/certs".into()));
        let named = |name: &str| env.iter().any(|variable| variable.as_str().unwrap().starts_with(name));
        assert!(named("GIT_TEMPLATE_DIR=") && !named("XTABLES_LIBDIR="));
        assert_eq!(value["config"]["Volumes"]["/var/lib/docker"], serde_json::json!({}));
        assert_eq!(value["config"]["ExposedPorts"]["2376/tcp"], serde_json::json!({}));
        assert_eq!(value["config"]["StopSignal"], "SIGTERM");
        assert_eq!(value["config"]["Labels"]["a"], "b");
        assert_eq!(value["config"]["Healthcheck"]["Interval"], 10 * SECOND);
        assert_eq!(value["rootfs"]["type"], "layers");
        assert_eq!(value["rootfs"]["diff_ids"][1], Digest::of(b"x").to_string());
        assert_eq!(value["history"][0]["created_by"], "from-scratch build: engine");
        for _ in 0..8 {
            assert_eq!(config.to_json(Arch::Amd64, &layers, 0).unwrap(), json, "always the same bytes");
        }
    }
}
