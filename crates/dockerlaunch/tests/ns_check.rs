//! `check` tries things and leaves nothing; `report` tells what a launch spent its time on.

mod empty_system;

use empty_system::{EmptySystem, READY, assert_status, text};

/// A line of `check`, if there is one.
fn line<'a>(told: &'a str, item: &str) -> Option<&'a str> {
    told.lines().find(|line| line.split_whitespace().nth(1) == Some(item))
}

/// Runs these commands of the shell in the launcher's place.
fn shell(system: &EmptySystem, commands: &str) -> std::process::Output {
    let run = format!("chroot . sh -c '{commands}'");
    system.stage(|stage| {
        stage
            .replace("chroot . /launcher/dockerlaunch \"$@\"", &run)
            .replace("shift\n", "mkdir proc; mount -t proc proc proc\n")
    });
    system.launch(&[])
}

#[test]
fn ns_check_tries_and_leaves_nothing_pain_45() {
    let system = EmptySystem::new("exit 0");
    let seen = "cat /proc/self/mountinfo; ls -l /proc/self/ns | cut -d\\> -f2; tail -n +3 /proc/net/dev | cut -d: -f1; ls /usr";
    let output = shell(
        &system,
        &format!(
            "({seen}) >before; dockerlaunch check; ({seen}) >after; dockerlaunch check --no-probe >read; cmp before after && ! grep tried read && echo as before"
        ),
    );
    let told = text(&output);
    assert!(told.contains("as before"), "{told}");
    // Not `user`: the kernel refuses it below a chroot.
    for item in ["mount", "network", "veth", "bridge", "overlay", "mqueue", "devpts"] {
        let line = line(&told, item).unwrap_or_else(|| panic!("no {item} in {told}"));
        assert!(line.contains("ok") && line.ends_with("tried"), "{line}");
    }
    assert!(told.trim_end().contains("ok: Docker can run here ("), "{told}");
}

/// The data root may be that of an engine that runs. What a try leaves there is the time of the last change.
#[test]
fn ns_check_without_probes_writes_nothing() {
    let system = EmptySystem::new("exit 0");
    let seen = "stat -c \"%y %z\" /var/lib/docker";
    let output = shell(
        &system,
        &format!(
            "mkdir -p /var/lib/docker; ({seen}) >before; dockerlaunch check --no-probe >told; ({seen}) >after; dockerlaunch check >told; ({seen}) >tried; \
             cmp before after && ! cmp -s after tried && echo as before"
        ),
    );
    assert!(text(&output).contains("as before"), "{}", text(&output));
}

/// What no configuration of a kernel tells.
#[test]
fn ns_check_finds_what_is_forbidden_here_pain_45() {
    let system = EmptySystem::new("exit 0");
    let output =
        shell(&system, "echo 0 >/proc/sys/user/max_net_namespaces; dockerlaunch check; echo status $?");
    let told = text(&output);
    let line = line(&told, "network").unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("missing") && line.contains("no container starts"), "{line}");
    assert!(told.contains("missing: Docker cannot run here as it is") && told.contains("status 1"), "{told}");
}

#[test]
fn ns_check_takes_what_it_does_not_understand_for_a_mistake() {
    let system = EmptySystem::new("exit 0");
    for words in [&["check", "--config"][..], &["check", "--config", "/nowhere"], &["report", "--xml"]] {
        let output = system.launch(words);
        assert_status(&output, 2);
        assert!(text(&output).contains("hint: "), "{}", text(&output));
    }
}

#[test]
fn ns_report_tells_the_times_of_a_launch() {
    let writes = "sleep 0.1; echo $$ >/run/docker.pid; sleep 0.1; ";
    let waits = r#"until grep -q '"ready_us": [0-9]' /run/dockerlaunch/report.json; do sleep 0.05; done; "#;
    let shows = "for form in --json --svg ''; do dockerlaunch report $form || exit 9; done";
    let system = EmptySystem::new(&format!("{writes}{READY}{waits}{shows}"));
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (json, rest) = told.split_once("<svg ").expect("a picture");
    let report: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(report["version"], 1);
    let spans = report["spans"].as_array().expect("spans");
    let took = |what: &str| {
        let span =
            spans.iter().find(|span| span["what"] == what).unwrap_or_else(|| panic!("no {what}: {told}"));
        span["end_us"].as_u64().expect("end") - span["start_us"].as_u64().expect("start")
    };
    // The clock of files ticks every few milliseconds.
    assert!(
        took("reads its configuration") > 90_000 && took("opens images, networks and containers") > 90_000
    );
    assert!(took("looks around") > 0 && took("api.proc") > 0);
    let (svg, text) = rest.split_once("</svg>\n").expect("its end");
    assert!(svg.contains(">reads its configuration ") && text.starts_with("ready "), "{told}");
    assert!(text.contains("engine    opens images, networks and containers"), "{text}");
}

#[test]
fn ns_report_without_a_launch_says_where_there_is_one() {
    let output = EmptySystem::new("exit 0").launch(&["report"]);
    assert_status(&output, 1);
    let told = text(&output);
    assert!(
        told.contains("no record of a launch") && told.contains("docker exec CONTAINER dockerlaunch report"),
        "{told}"
    );
}
