//! `cargo xtask pictures`: what the README shows of a terminal, out of one real run.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::process::{command, is_root, output, target, workspace};
use crate::provision::{self, Need};

/// What is typed, in this order, and in which picture it stands; what prepares another line stands in none.
const TYPED: &[(Option<&str>, &str)] = &[
    // The image is built, which is another picture.
    (None, "from-scratch up"),
    (None, "from-scratch down"),
    (Some("up"), "from-scratch up"),
    (Some("up"), "tar -c -C box . | from-scratch exec docker import - box"),
    (Some("up"), "from-scratch exec docker run --rm box busybox echo hello from a container"),
    (Some("up"), "from-scratch ps"),
    (None, "from-scratch build --tag dind -o docker:dind.tar"),
    (None, "from-scratch exec docker load < dind.tar"),
    (Some("plan"), "docker run --rm --privileged dind plan"),
    (Some("error"), "docker run --rm dind"),
    // It draws itself.
    (None, "from-scratch exec dockerlaunch report --svg > report.svg"),
    (None, "from-scratch down --volumes"),
];

/// Takes all of them anew.
pub(crate) fn run() -> Result<ExitCode> {
    ensure!(is_root(), "the pictures show `up`, which needs root");
    if let Some((need, error)) = provision::provide(&[Need::Busybox]).into_iter().next() {
        return Err(error.context(format!("could not get {}", need.told())));
    }
    output(&mut command(&["cargo", "build", "--release", "--locked"]))?;
    let place = target().join("pictures");
    fs::create_dir_all(place.join("lib"))?;
    fs::create_dir_all(place.join("box/bin"))?;
    fs::copy(provision::busybox(), place.join("box/bin/busybox"))?;
    let taken = TYPED.iter().map(|(picture, line)| Ok((*picture, *line, shell(line, &place)?)));
    let taken: Result<Vec<_>> = taken.collect();
    if taken.is_err() {
        shell("from-scratch down --volumes", &place)?;
    }
    let taken = taken?;
    for picture in ["up", "plan", "error"] {
        let shown = taken.iter().filter(|(of, ..)| *of == Some(picture));
        let text: String =
            shown.map(|(_, line, text)| format!("\u{1b}[1m$ {line}\u{1b}[0m\n{text}")).collect();
        let file = workspace().join("docs/pictures").join(format!("{picture}.svg"));
        fs::write(&file, anstyle_svg::Term::new().render_svg(&text))?;
        println!("{}", file.strip_prefix(workspace())?.display());
    }
    fs::copy(place.join("report.svg"), workspace().join("docs/pictures/report.svg"))?;
    println!("docs/pictures/report.svg");
    Ok(ExitCode::SUCCESS)
}

/// Runs a line as it stands in the picture, with `docker` inside the instance; both streams, as they came.
fn shell(line: &str, place: &std::path::Path) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("unshare");
    // The default state directory, and not the developer's own.
    let bind = "mount --bind lib /var/lib";
    let typed = format!("{bind}; exec 2>&1; docker() {{ from-scratch exec docker \"$@\"; }}; {line}");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", &typed]);
    shell.current_dir(place).env("PATH", format!("{}:{path}", target().join("release").display()));
    let output = shell.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 125: what the picture of an error is about.
    ensure!(matches!(output.status.code(), Some(0 | 125)), "`{line}` failed:\n{text}");
    Ok(text)
}
