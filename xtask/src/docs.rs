//! `cargo xtask docs`: writes the generated parts of the documents anew; with `--image` also what is known only of a whole
//! image, which it puts together for that: the sizes and the picture.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::bench;
use crate::process::{command, output, workspace};

/// The tests that compare the documents with the code write them, when asked to.
const TABLES: &[(&str, &[&str])] = &[
    ("README.md, docs/components.md: the requirements", &["dockerlaunch-image", "--lib", "table::"]),
    ("docs/configuration.md: the variables", &["dockerlaunch-plan", "--test", "docs"]),
    ("docs/pains.md: the tests", &["dockerlaunch-plan", "--test", "pains", "the_page"]),
    ("docs/scenarios.md: the results", &["itest", "--lib", "results::"]),
    ("docs/requirements.md: the results", &["itest", "--lib", "prove::page::"]),
];

pub(crate) fn run(image: bool) -> Result<ExitCode> {
    if image {
        of_an_image()?;
        println!("docs/image.json, docs/pictures/image.svg");
    }
    for (table, test) in TABLES {
        let words = [&["cargo", "test", "--quiet", "--package"], *test].concat();
        output(command(&words).env("UPDATE_DOCS", "1"))?;
        println!("{table}");
    }
    if let Some(record) = bench::Record::published()? {
        record.publish()?;
        println!("docs/bench.md: table and plot");
    }
    Ok(ExitCode::SUCCESS)
}

/// What `from-scratch explain --json` says, as far as it is needed here.
#[derive(Deserialize)]
struct Explained {
    suite: String,
    packages: Vec<Package>,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Part {
    name: String,
    saved_without: u64,
}

/// The picture shows the default image; sizes are those of an image with everything.
fn of_an_image() -> Result<()> {
    let docs = workspace().join("docs");
    let explain = ["cargo", "run", "--quiet", "--locked", "--package", "from-scratch", "--", "explain"];
    output(command(&explain).arg("--svg").arg(docs.join("pictures/image.svg")))?;
    let with = format!("--with={}", components()?.join(","));
    let explained: Explained = serde_json::from_str(&output(command(&explain).args(["--json", &with]))?)?;
    let engine = explained.packages.iter().find(|package| package.name == "docker.io");
    let saved: BTreeMap<&str, u64> =
        explained.parts.iter().map(|part| (part.name.as_str(), part.saved_without)).collect();
    let sizes = serde_json::json!({
        "suite": explained.suite,
        "engine": engine.context("the image has no docker.io")?.version,
        "saved": saved,
    });
    fs::write(docs.join("image.json"), serde_json::to_string_pretty(&sizes)? + "\n")?;
    Ok(())
}

/// All that an image can have: host-side components say that they are.
fn components() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace().join("image/components"))? {
        let path = entry?.path();
        if !fs::read_to_string(&path)?.lines().any(|line| line == "host = true") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
