//! What some images have besides, a scenario each. Components that scenarios of other areas use are not here.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::image::{self, BOX, Packing};
use crate::{Environment, command};

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "optional::pigz",
        "unpigz unpacks what gzip packed, and an image packed so is loaded where it is there",
        pigz,
    )
    .image(&["pigz"]),
    scenario("optional::nft", "nft shows the engine's rules, and takes others", nft).image(&["nft"]),
    scenario("optional::fuse_overlayfs", "fuse-overlayfs mounts layers over each other", fuse_overlayfs)
        .image(&["fuse-overlayfs"]),
    scenario("optional::ext4", "a file system is made in a file, and is sound", ext4).image(&["ext4"]),
    scenario("optional::shell", "a script that begins with #!/bin/sh runs", shell).image(&["shell"]),
    scenario("optional::crun", "a container runs with crun, beside those with runc", crun).image(&["crun"]),
];

fn pigz(env: &dyn Environment) -> Result<()> {
    let packed = image::pack(b"packed", Packing::Gzip)?;
    let outcome = env.exec(&["unpigz", "-d", "-c"], &packed)?;
    ensure!(outcome.status == 0 && outcome.text() == "packed", "{outcome:?}");
    let archive = image::docker_archive(&image::worded_rootfs("pigz")?, "unpacked-by-pigz:1")?;
    env.docker_with_input(&["load"], &image::pack(&archive, Packing::Gzip)?)?.success()?;
    let word = env.docker(&["run", "--rm", "unpacked-by-pigz:1", "cat", "/etc/word"])?;
    ensure!(word == "pigz", "in the image: {word}");
    env.docker(&["rmi", "unpacked-by-pigz:1"]).map(drop)
}

fn nft(env: &dyn Environment) -> Result<()> {
    let rules = env.exec(&["nft", "list", "ruleset"], b"")?.success()?;
    ensure!(rules.contains("chain DOCKER"), "{rules}");
    env.exec(&["nft", "-f", "-"], b"add table ip itest\nadd chain ip itest c\n")?.success()?;
    let rules = env.exec(&["nft", "list", "table", "ip", "itest"], b"")?.success()?;
    ensure!(rules.contains("chain c"), "{rules}");
    env.exec(&["nft", "delete", "table", "ip", "itest"], b"")?.success().map(drop)
}

/// Not all of `/usr`: the base that our files are in may have programs there.
const PRIVATE: &str = "/usr/lib/dockerlaunch:/usr/lib/dockerlaunch:ro";

fn fuse_overlayfs(env: &dyn Environment) -> Result<()> {
    let script = "cd /tmp && mkdir lower upper work merged && echo below > lower/file \
                  && /usr/lib/dockerlaunch/bin/fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work merged \
                  && cat merged/file && echo above > merged/file && cat upper/file lower/file && umount merged";
    let run = ["run", "--rm", "--privileged", "--tmpfs", "/tmp", "-v", PRIVATE, BOX, "sh", "-c", script];
    let said = env.docker(&run)?;
    ensure!(said == "below\nabove\nbelow", "{said}");
    Ok(())
}

fn ext4(env: &dyn Environment) -> Result<()> {
    let files = env.exchange().directory("ext4")?;
    std::fs::File::create(files.outside.join("disk"))?.set_len(64 << 20)?;
    let disk = format!("{}/disk", files.inside);
    env.exec(&["mke2fs", "-q", "-F", "-t", "ext4", &disk], b"")?.exits(0)?;
    let said = env.exec(&["e2fsck", "-f", "-n", &disk], b"")?.exits(0)?.text();
    ensure!(said.contains("non-contiguous"), "{said}");
    std::fs::remove_file(files.outside.join("disk")).map_err(Into::into)
}

fn shell(env: &dyn Environment) -> Result<()> {
    let files = env.exchange().directory("shell")?;
    files.write("hook", "#!/bin/sh\nset -e\necho \"in a shell: $1\" | busybox tr a-z A-Z\n")?;
    let mut chmod = Command::new("chmod");
    command::run(chmod.arg("755").arg(files.outside.join("hook")), b"")?.success()?;
    let said = env.exec(&[&format!("{}/hook", files.inside), "yes"], b"")?.success()?;
    ensure!(said == "IN A SHELL: YES", "{said}");
    Ok(())
}

fn crun(env: &dyn Environment) -> Result<()> {
    let version = |runtime: &str| -> Result<String> {
        let name = format!("with-{runtime}");
        env.docker(&["run", "-d", "--runtime", runtime, "--name", &name, BOX, "sleep", "100"])?;
        let said =
            env.docker(&["inspect", "--format", "{{.HostConfig.Runtime}} {{.State.Running}}", &name])?;
        let inside = env.docker(&["exec", &name, "cat", "/proc/1/comm"])?;
        env.remove(&[&name])?;
        Ok(format!("{said} {inside}"))
    };
    for runtime in ["crun", "runc"] {
        let said = version(runtime)?;
        ensure!(said == format!("{runtime} true sleep"), "{said}");
    }
    let status = env.try_docker(&["run", "--rm", "--runtime", "crun", BOX, "sh", "-c", "exit 42"])?.status;
    ensure!(status == 42, "a status of 42 became {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dockerlaunch_image::spec::{Reason, Spec};

    use crate::product;

    fn sources(directory: &Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            if entry.path().is_dir() {
                sources(&entry.path(), text);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                *text += &std::fs::read_to_string(entry.path()).expect("a source");
            }
        }
    }

    /// Why each file of a component is there.
    fn reasons(spec: &Spec) -> impl Iterator<Item = (&str, &Reason)> {
        spec.components.iter().flat_map(|component| {
            let launchers = component.launchers.iter().map(|file| &file.reason);
            let reasons = launchers
                .chain(component.files.iter().map(|file| &file.reason))
                .chain(component.links.iter().map(|link| &link.reason))
                .chain(component.link_sets.iter().map(|set| &set.reason))
                .chain(component.texts.iter().map(|text| &text.reason))
                .chain(component.flag_lists.iter().map(|list| &list.reason));
            reasons.map(|reason| (component.name.as_str(), reason))
        })
    }

    #[test]
    fn every_proof_that_a_component_names_is_a_scenario_or_a_test() {
        let mut text = String::new();
        ["src", "tests"]
            .iter()
            .for_each(|directory| sources(&product::workspace().join("itest").join(directory), &mut text));
        // A suite's own tests stand in quotation marks, as scenarios do; Rust's own are functions.
        let is_there =
            |name: &str| text.contains(&format!("\"{name}\"")) || text.contains(&format!("fn {name}("));
        let spec = Spec::embedded().expect("valid");
        let mut proofs = 0;
        for (component, reason) in reasons(spec) {
            for name in reason.proof.split(", ") {
                assert!(is_there(name), "{component}: there is no scenario or test `{name}`");
                proofs += 1;
            }
        }
        assert!(proofs > 40, "{proofs}");
        assert!(!is_there(&["optional", "nothing"].join("::")));
    }
}
