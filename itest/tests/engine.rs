//! The `engine_` tier: the real dockerd of the image, asked and never started (`--help`, `--validate`).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::dockerd_flags::{Flag, Kind, parse_help, parse_list};
use dockerlaunch_plan::facts::{ConfigFile, Facts, MERGED_CONFIG};
use dockerlaunch_plan::rules::daemon_json::{merge, view};
use dockerlaunch_plan::rules::listeners;
use itest::suite::{Suite, told};
use itest::{Outcome, build, command};
use serde_json::json;

fn main() -> ExitCode {
    Suite::new("engine", &[])
        .test("list_of_flags", &[], list_of_flags)
        .test("every_flag_by_variable", &[], every_flag_by_variable)
        .test("merged_settings_are_accepted", &[], merged_settings_are_accepted)
        .test(
            "certificates_are_used_whatever_switches_tls_on",
            &[],
            certificates_are_used_whatever_switches_tls_on,
        )
        .test("check_tells_what_dockerd_says", &[], check_tells_what_dockerd_says)
        .run(|| Ok(()))
}

/// The image's private directory.
fn private() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let image = build::output("engine", "dir", "image").map_err(|error| told(&error))?;
            Ok(image.join("usr/lib/dockerlaunch"))
        })
        .as_deref()
        .map_err(|error| anyhow!("{error}"))
}

/// dockerd with the image's own loader: this machine's libraries may be older.
fn dockerd(args: &[String]) -> Result<Outcome> {
    let private = private()?;
    let mut command = Command::new(private.join("ld"));
    command.arg("--library-path").arg(private.join("lib")).arg(private.join("bin/dockerd")).args(args);
    // It looks for docker-proxy.
    command::run(command.env_clear().env("PATH", private.join("bin")), b"")
}

fn flags() -> Result<Vec<Flag>> {
    Ok(parse_list(&std::fs::read_to_string(private()?.join("dockerd.flags"))?))
}

fn list_of_flags() -> Result<()> {
    let help = dockerd(&["--help".to_owned()])?.exits(0)?.text();
    let listed = flags()?;
    ensure!(listed.len() > 50 && listed == parse_help(&help), "the image's list is not what dockerd tells");
    Ok(())
}

/// Settings as users give them.
struct Case {
    args: &'static str,
    env: Vec<(String, String)>,
    file: serde_json::Value,
}

/// What dockerd says to the settings as they are, or as the launcher merges them.
fn ask(case: &Case, merged: bool) -> Result<Outcome> {
    let args: Vec<String> = case.args.split_whitespace().map(str::to_owned).collect();
    let env: BTreeMap<String, String> = case.env.iter().cloned().collect();
    let mut config = Config::new(Engine::new("dockerd", &args), &env);
    config.apply_environment(Ok(&flags()?));
    ensure!(config.environment.problems.is_empty(), "{:?}", config.environment.problems);
    let directory = build::scratch("engine")?;
    let path = directory.join("daemon.json");
    let file = ConfigFile {
        path: path.display().to_string(),
        content: Some(case.file.to_string()),
        ..ConfigFile::default()
    };
    let (text, args) = if merged {
        let merged = merge(&config, &file, &config.engine.args, true)?;
        let args: Vec<String> = merged.args.into_iter().filter(|arg| !arg.ends_with(MERGED_CONFIG)).collect();
        (merged.file.unwrap_or_default(), args)
    } else {
        (file.content.unwrap_or_default(), config.engine.args)
    };
    std::fs::write(&path, text)?;
    let validate = ["--validate".to_owned(), format!("--config-file={}", path.display())];
    dockerd(&[&args[..], &validate].concat())
}

/// The files that the launcher names count wherever the switch stands: dockerd loads them, and refuses one that is broken.
fn certificates_are_used_whatever_switches_tls_on() -> Result<()> {
    let directory = build::scratch("engine-tls")?;
    let server = directory.join("server");
    std::fs::create_dir_all(&server)?;
    let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout key.pem -out cert.pem \
                && cp cert.pem ca.pem";
    command::run(Command::new("sh").args(["-c", make]).current_dir(&server), b"")?.exits(0)?;
    let env = BTreeMap::from([("DOCKER_TLS_CERTDIR".to_owned(), directory.display().to_string())]);
    let config = Config::new(Engine::with_defaults(&[]), &env);
    for (content, broken) in [
        (json!({}), "cert.pem"),
        (json!({"tls": true}), "cert.pem"),
        (json!({"tlsverify": true}), "ca.pem"),
        (json!({"tlsverify": false}), "key.pem"),
        (
            json!({"tlsverify": true, "tlscert": server.join("cert.pem"), "tlskey": server.join("key.pem")}),
            "ca.pem",
        ),
    ] {
        let path = directory.join("daemon.json");
        let file = ConfigFile {
            path: path.display().to_string(),
            content: Some(content.to_string()),
            ..ConfigFile::default()
        };
        let facts = Facts { daemon_json: view(&config, &file), ..Facts::default() };
        let merged = merge(&config, &file, &listeners::arguments(&config, &facts).0, true)?;
        std::fs::write(&path, merged.file.unwrap_or_default())?;
        // Sockets cannot be handed over to an engine that only looks.
        let args = merged
            .args
            .into_iter()
            .filter(|arg| arg != "-H" && arg != "fd://" && !arg.ends_with(MERGED_CONFIG));
        let args: Vec<String> =
            args.chain(["--validate".to_owned(), format!("--config-file={}", path.display())]).collect();
        dockerd(&args)?.exits(0).with_context(|| format!("{content} {args:?}"))?;
        let whole = std::fs::read(server.join(broken))?;
        std::fs::write(server.join(broken), "none")?;
        let refused = dockerd(&args)?;
        std::fs::write(server.join(broken), whole)?;
        ensure!(refused.status != 0, "{content}: dockerd did not look at {broken}: {args:?}");
    }
    Ok(())
}

/// A value that dockerd accepts.
fn sample(flag: &Flag) -> &'static str {
    match (flag.name.as_str(), flag.kind) {
        ("host", _) => "unix:///run/a.sock,unix:///run/b.sock",
        ("registry-mirror", _) => "https://a.example,https://b.example",
        ("insecure-registry", _) => "a.example:5000,192.0.2.0/24",
        ("dns-search", _) => "a.example,b.example",
        ("host-gateway-ip", _) => "192.0.2.1",
        ("exec-opt", _) => "native.cgroupdriver=cgroupfs",
        ("log-level", _) => "debug",
        ("log-format", _) => "json",
        ("default-ipc-mode" | "default-cgroupns-mode", _) => "private",
        ("default-runtime", _) => "runc",
        ("fixed-cidr-v6", _) => "2001:db8::/64",
        ("userland-proxy-path", _) => "/bin/sh",
        ("userns-remap", _) => "root",
        // Switching TLS on takes certificates.
        ("tls", _) => "false",
        // dockerd refuses any value of it.
        ("api-cors-header", _) => "",
        // Realtime scheduling is refused where the kernel has none.
        ("cpu-rt-period" | "cpu-rt-runtime", _) => "0",
        (_, Kind::Bool) => "true",
        (_, Kind::Int | Kind::Uint) => "7",
        (_, Kind::Duration) => "7s",
        (_, Kind::Bytes) => "64m",
        (_, Kind::Ip) => "192.0.2.1",
        (_, Kind::Ips) => "192.0.2.1,192.0.2.2",
        (_, Kind::Text) => "word",
        (_, Kind::List) => "a=1,b=2",
        (_, Kind::Map) if flag.name == "feature" => "a=true,b",
        (_, Kind::Map) => "a=1,b=2",
        (_, Kind::MapMap) => "bridge=a=1,bridge=b=2",
        (_, Kind::Pools) => "base=10.10.0.0/16,size=24,base=10.11.0.0/16,size=24",
        (_, Kind::Ulimit) => "nofile=1024:2048,core=0",
        (_, Kind::Runtime) => "one=/usr/bin/one,two=/usr/bin/two",
    }
}

fn every_flag_by_variable() -> Result<()> {
    // They print something and end, name the file, or take certificates.
    const OTHERS: &[&str] = &["help", "version", "validate", "config-file", "tlsverify"];
    let mut seen = 0;
    for flag in flags()?.iter().filter(|flag| !OTHERS.contains(&flag.name.as_str())) {
        let variable = format!("DOCKERD_{}", flag.name.to_uppercase().replace('-', "_"));
        let case = Case { args: "", env: vec![(variable, sample(flag).to_owned())], file: json!({}) };
        let after = ask(&case, true)?;
        ensure!(after.stderr.contains("configuration OK"), "--{}: {}", flag.name, after.stderr);
        seen += 1;
    }
    ensure!(seen > 50, "only {seen} flags");
    Ok(())
}

fn merged_settings_are_accepted() -> Result<()> {
    let env = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let json = |value: serde_json::Value| env("DOCKERD_CONFIG_JSON", &value.to_string());
    // Refused by dockerd as they are, but for those that `true` marks.
    let cases = [
        (false, Case { args: "--mtu=1450", env: vec![], file: json!({"mtu": 1400}) }),
        (
            false,
            Case { args: "-D -l debug", env: vec![], file: json!({"debug": false, "log-level": "info"}) },
        ),
        (false, Case { args: "", env: env("MTU", "1450"), file: json!({"mtu": 1400}) }),
        (
            false,
            Case {
                args: "--dns 192.0.2.1 --label a=1 --log-opt max-size=1m --registry-mirror https://a.example",
                env: env("DOCKERD_INSECURE_REGISTRY", "a.example"),
                file: json!({
                    "dns": ["192.0.2.2"],
                    "labels": ["a=2", "b=1"],
                    "log-opts": {"max-size": "2m", "max-file": "3"},
                    "registry-mirrors": ["https://b.example"],
                    "insecure-registries": ["b.example"],
                }),
            },
        ),
        (
            false,
            Case {
                args: "--default-address-pool base=10.10.0.0/16,size=24 --default-ulimit core=0 --storage-opt a=1",
                env: env("DOCKERD_DEFAULT_NETWORK_OPT", "bridge=com.docker.network.driver.mtu=1450"),
                file: json!({
                    "default-address-pools": [{"base": "10.11.0.0/16", "size": 24}],
                    "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2048, "Soft": 1024}},
                    "default-network-opts": {"bridge": {"a": "1"}},
                    "storage-opts": ["b=2"],
                }),
            },
        ),
        (
            false,
            Case {
                args: "--http-proxy=http://a.example",
                env: vec![],
                file: json!({"proxies": {"http-proxy": "http://b.example", "no-proxy": "c"}}),
            },
        ),
        (
            false,
            Case {
                args: "--host-gateway-ip=192.0.2.1",
                env: vec![],
                file: json!({"host-gateway-ip": "192.0.2.2"}),
            },
        ),
        (false, Case { args: "-H fd://", env: vec![], file: json!({"hosts": ["tcp://0.0.0.0:2375"]}) }),
        (
            true,
            Case {
                args: "--add-runtime a=/a",
                env: vec![],
                file: json!({"runtimes": {"b": {"path": "/b"}}}),
            },
        ),
        (
            true,
            Case {
                args: "",
                env: json(json!({"features": {"buildkit": true}, "builder": {"gc": {"enabled": true}}})),
                file: json!({"builder": {"gc": {"defaultKeepStorage": "1GB"}}}),
            },
        ),
        (
            true,
            Case {
                args: "",
                env: json(json!({"labels": ["a=1"], "mtu": 1400})),
                file: json!({"labels": ["a=2"], "mtu": 1500}),
            },
        ),
    ];
    for (accepted, case) in &cases {
        let (before, after) = (ask(case, false)?, ask(case, true)?);
        let refusal = "specified both as a flag and in the configuration file";
        ensure!(
            *accepted != before.stderr.contains(refusal),
            "{} {}: {}",
            case.args,
            case.file,
            before.stderr
        );
        ensure!(after.stderr.contains("configuration OK"), "{} {}: {}", case.args, case.file, after.stderr);
    }
    Ok(())
}

/// The launcher's `check`, here on the host, where it changes nothing, with an engine that it has no list of flags for.
fn check_tells_what_dockerd_says() -> Result<()> {
    let private = private()?;
    let directory = build::scratch("engine")?;
    let (engine, file) = (directory.join("dockerd"), directory.join("user.json"));
    let (loader, libraries) = (private.join("ld"), private.join("lib"));
    std::fs::write(
        &engine,
        format!(
            "#!/bin/sh\nexec {} --library-path {} {} \"$@\"\n",
            loader.display(),
            libraries.display(),
            private.join("bin/dockerd").display()
        ),
    )?;
    std::fs::set_permissions(&engine, PermissionsExt::from_mode(0o755))?;
    let check = |json: &str, mtu: &str| -> Result<Outcome> {
        std::fs::write(&file, json)?;
        let mut check = Command::new(private.join("bin/dockerlaunch"));
        check.arg("check").arg(&engine).arg("--config-file").arg(&file);
        let path = format!("{}:/usr/bin:/bin", private.join("bin").display());
        check.env_clear().env("PATH", path).env("DOCKERD_MTU", mtu);
        command::run(&mut check, b"")
    };
    let said = check(r#"{"mtu": 1400, "mut": 1}"#, "1450")?.text();
    ensure!(said.contains("don't match any configuration option: mut"), "{said}");
    ensure!(said.contains(&file.display().to_string()), "the user's own file is named: {said}");
    let said = check(r#"{"mtu": 1400}"#, "1450")?.text();
    ensure!(!said.contains("does not accept"), "{said}");
    let said = check("{}", "fast")?.text();
    ensure!(said.contains("DOCKERD_MTU is `fast`"), "the engine was asked for its flags: {said}");
    Ok(())
}
