//! `docs/scenarios.json`, what the last recorded runs gave, and `docs/scenarios.md`, the page made of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::environments::{PLACES, Place, Started, hole, scenarios};
use crate::{Environment, product};

/// How a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must.
    Ok,
    /// It failed, and that is explained.
    Hole,
    /// It failed.
    Failed,
}

/// One run of all scenarios in an environment.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Recorded {
    /// Its day.
    pub date: String,
    /// Our engine's version.
    pub docker: String,
    /// The kernel's.
    pub kernel: String,
    /// The cgroup version that our engine sees.
    pub cgroups: String,
    /// What is around it.
    pub outside: String,
    /// By the scenario's name.
    pub results: BTreeMap<String, Verdict>,
}

impl Recorded {
    /// Asks for day and versions.
    pub fn look(&mut self, started: &Started) -> Result<()> {
        [self.docker, self.kernel, self.cgroups] = versions(started.environment())?;
        self.outside.clone_from(&started.outside);
        self.date = today();
        Ok(())
    }

    /// The results of a whole run, with these in their place.
    fn among(mut self, whole: &Self) -> Result<Self> {
        let versions = |run: &Self| [&run.docker, &run.kernel, &run.cgroups, &run.outside].map(String::clone);
        let (here, there) = (versions(&self), versions(whole));
        ensure!(here == there, "this part ran with {}, the whole with {}", here.join(", "), there.join(", "));
        for (scenario, verdict) in &whole.results {
            if scenarios().any(|known| known.name == scenario) {
                self.results.entry(scenario.clone()).or_insert(*verdict);
            }
        }
        let begun = whole.date.split(' ').next().unwrap_or_default();
        if begun != self.date {
            self.date = format!("{begun} to {}", self.date);
        }
        Ok(self)
    }

    /// How many passed, are holes, and failed.
    pub fn counts(&self) -> [usize; 3] {
        [Verdict::Ok, Verdict::Hole, Verdict::Failed]
            .map(|verdict| self.results.values().filter(|result| **result == verdict).count())
    }
}

/// Of the engine, of the kernel, and of the cgroups that the engine sees.
pub(crate) fn versions(environment: &dyn Environment) -> Result<[String; 3]> {
    let format = "{{.ServerVersion}} {{.KernelVersion}} {{.CgroupVersion}}";
    let info = environment.docker(&["info", "--format", format])?;
    let mut words = info.split(' ').map(str::to_owned);
    let mut next = || words.next().with_context(|| format!("`docker info` says: {info}"));
    let [docker, kernel, cgroups] = [next()?, next()?, next()?];
    // What follows is the machine's builder's.
    let kernel = kernel.split('.').take(2).collect::<Vec<_>>().join(".");
    Ok([docker, kernel, cgroups])
}

/// For documents.
pub(crate) fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

type Book = BTreeMap<String, Recorded>;

fn document(name: &str) -> PathBuf {
    product::workspace().join("docs").join(name)
}

fn read() -> Result<Book> {
    let path = document("scenarios.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))
}

/// Puts this run in the place of an earlier one of the same environment, or among the results of one if it was of a part, and
/// writes the page anew.
///
/// # Errors
/// A part is of other versions than the whole.
pub fn record(place: &str, run: &Recorded, in_part: bool) -> Result<()> {
    let mut book = read()?;
    let mut run = run.clone();
    if in_part {
        let whole = book.get(place).with_context(|| format!("{place}: record a whole run first"))?;
        run = run.among(whole).with_context(|| format!("{place}: record a whole run again"))?;
    }
    book.insert(place.to_owned(), run);
    book.retain(|name, _| PLACES.iter().any(|place| place.name == name));
    fs::write(document("scenarios.json"), serde_json::to_string_pretty(&book)? + "\n")?;
    fs::write(document("scenarios.md"), page(&book))?;
    Ok(())
}

fn page(book: &Book) -> String {
    let recorded: Vec<(&Place, &Recorded)> =
        PLACES.iter().filter_map(|place| Some((place, book.get(place.name)?))).collect();
    let row = |place: &Place| match book.get(place.name) {
        Some(run) => place_row(place, run),
        None => format!("| {} | {} | not run yet | | | | | | | |\n", place.name, place.is),
    };
    let places: String = PLACES.iter().map(row).collect();
    let heads: String = recorded.iter().map(|(place, _)| format!(" {} |", place.name)).collect();
    let rule = "---|".repeat(recorded.len());
    let mut holes = Vec::new();
    let mut rows = String::new();
    for scenario in scenarios() {
        rows += &format!("| `{}` | {} |", scenario.name, scenario.proves);
        for (place, run) in &recorded {
            let cell = match run.results.get(scenario.name) {
                Some(Verdict::Ok) => "ok".to_owned(),
                Some(Verdict::Failed) => "**failed**".to_owned(),
                Some(Verdict::Hole) => {
                    let reason =
                        hole(place.name, scenario.name).map_or("no hole any more", |hole| hole.reason);
                    holes.push(format!(
                        "{}. {}, `{}`: {reason}\n",
                        holes.len() + 1,
                        place.name,
                        scenario.name
                    ));
                    format!("[hole {}](#holes)", holes.len())
                }
                None if place.runs(scenario) => "not yet".to_owned(),
                None => "–".to_owned(),
            };
            rows += &format!(" {cell} |");
        }
        rows.push('\n');
    }
    let holes = if holes.is_empty() { "None.\n".to_owned() } else { holes.concat() };
    format!(
        "# Scenarios\n\n\
         What users do with Docker, and where it was seen to work. `cargo xtask scenario --in {} --record` runs all of it and writes \
         this page; `cargo xtask docs` writes it anew from the results, [scenarios.json](scenarios.json). \"not yet\": the scenario is \
         younger than the run. \"–\": this machine's kernel lacks what it is about, IP_VS.\n\n\
         What wants instances of its own runs under `up` alone, in `cargo xtask test`: `--userns-remap=default`, a swarm of two \
         nodes (`itest/tests/root_up.rs`), and all that kills parts of the engine, fills its disk or takes its network away \
         (`itest/tests/faults.rs`).\n\n\
         | environment | is | date | Docker | kernel | cgroups | outside | ok | holes | failed |\n\
         |---|---|---|---|---|---|---|---|---|---|\n{places}\n\
         | scenario | proves |{heads}\n|---|---|{rule}\n{rows}\n\
         ## Holes\n\n{holes}",
        PLACES.iter().map(|place| place.name).collect::<Vec<_>>().join(",")
    )
}

fn place_row(place: &Place, run: &Recorded) -> String {
    let [ok, holes, failed] = run.counts();
    format!(
        "| `{}` | {} | {} | {} | {} | v{} | {} | {ok} | {holes} | {failed} |\n",
        place.name, place.is, run.date, run.docker, run.kernel, run.cgroups, run.outside
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_was_recorded() {
        let wanted = page(&read().expect("docs/scenarios.json"));
        let path = document("scenarios.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, wanted).expect("write");
        } else {
            let page = fs::read_to_string(&path).expect("docs/scenarios.md");
            assert!(page == wanted, "docs/scenarios.md is out of date: run `cargo xtask docs`");
        }
    }

    #[test]
    fn what_is_published_meets_the_bars() {
        let book = read().expect("docs/scenarios.json");
        for place in PLACES {
            let run = book.get(place.name).unwrap_or_else(|| panic!("{} has not run", place.name));
            let [ok, holes, failed] = run.counts();
            assert_eq!(failed, 0, "{}", place.name);
            let allowed = if ["up", "nested"].contains(&place.name) { 0 } else { (ok + holes) / 20 };
            assert!(holes <= allowed, "{}: {holes} holes in {}", place.name, ok + holes);
            let all = scenarios().filter(|scenario| place.runs(scenario)).map(|scenario| scenario.name);
            let not_run: Vec<&str> = all.filter(|name| !run.results.contains_key(*name)).collect();
            assert!(not_run.is_empty(), "{}: not run yet: {not_run:?}", place.name);
        }
    }

    #[test]
    fn a_part_joins_a_whole_of_the_same_versions() {
        let run = |kernel: &str, results: &[(&str, Verdict)]| Recorded {
            kernel: kernel.to_owned(),
            results: results.iter().map(|(name, verdict)| ((*name).to_owned(), *verdict)).collect(),
            ..Recorded::default()
        };
        let [first, second] = ["engine::version", "engine::info"];
        let gone = ("of::yesterday", Verdict::Failed);
        let whole = run("6.1", &[(first, Verdict::Failed), (second, Verdict::Ok), gone]);
        let part = [(first, Verdict::Ok)];
        let joined = run("6.1", &part).among(&whole).expect("the same versions");
        assert_eq!(joined.counts(), [2, 0, 0]);
        let error = run("6.18", &part).among(&whole).expect_err("another kernel").to_string();
        assert!(error.contains("6.18") && error.contains("6.1,"), "{error}");
    }

    #[test]
    fn a_scenario_is_shown_as_it_ended() {
        let results = [("engine::version", Verdict::Ok), ("engine::no_shell", Verdict::Hole)];
        let results = results.map(|(name, verdict)| (name.to_owned(), verdict)).into();
        let run = Recorded { date: "2026-11-26".to_owned(), results, ..Recorded::default() };
        let page = page(&[("embedded".to_owned(), run)].into());
        let row =
            |name: &str| page.lines().find(|line| line.starts_with(&format!("| `{name}`"))).expect(name);
        assert!(row("engine::version").ends_with("| ok |"), "{page}");
        assert!(row("engine::no_shell").ends_with("| [hole 1](#holes) |"), "{page}");
        assert!(row("engine::info").ends_with("| not yet |"), "{page}");
        assert!(page.contains("1. embedded, `engine::no_shell`: the base brings"), "{page}");
    }
}
