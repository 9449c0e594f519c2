//! What the command line asks for.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};

use crate::Scenario;
use crate::environments::{PLACES, Place};

use crate::environments::scenarios;

/// What is to be done with what is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Run them.
    Run,
    /// Run them and write the results to the documents.
    Record,
    /// Name them.
    List,
    /// Name what they need.
    Needs,
}

/// Scenarios and where they run.
#[derive(Debug)]
pub struct Choice {
    /// In this order.
    pub places: Vec<&'static Place>,
    /// In this order in each.
    pub scenarios: Vec<&'static Scenario>,
    /// To do what.
    pub task: Task,
    /// Only some of the scenarios are meant.
    pub in_part: bool,
}

impl Choice {
    /// From the words of the command line. A word without dashes is a part of a scenario's name.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut places = Vec::new();
        let mut patterns: Vec<&str> = Vec::new();
        let mut task = Task::Run;
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))) {
                ("--in", value) => {
                    let names = value.or_else(|| words.next());
                    let names = names.ok_or_else(|| anyhow!("`--in` wants names: {}", place_names()))?;
                    for name in names.split(',') {
                        places.extend(places_called(name)?);
                    }
                }
                ("--list", None) => task = Task::List,
                ("--record", None) => task = Task::Record,
                ("--needs", None) => task = Task::Needs,
                (option, _) if option.starts_with('-') => {
                    let known = ["--in", "--list", "--record", "--needs"];
                    bail!("no option `{option}`{}; there are: {}", nearest(option, known), known.join(", "))
                }
                _ => patterns.push(word),
            }
        }
        if places.is_empty() {
            places.extend(places_called("up")?);
        }
        let mut seen = BTreeSet::new();
        places.retain(|place: &&Place| seen.insert(place.name));
        Ok(Choice { places, scenarios: matching(&patterns)?, task, in_part: !patterns.is_empty() })
    }
}

fn matching(patterns: &[&str]) -> Result<Vec<&'static Scenario>> {
    for pattern in patterns {
        if !scenarios().any(|scenario| scenario.name.contains(pattern)) {
            let names: Vec<&str> = scenarios().map(|scenario| scenario.name).collect();
            let parts = names.iter().flat_map(|name| name.split("::")).chain(names.iter().copied());
            bail!(
                "no scenario has `{pattern}` in its name{}; there are:\n  {}",
                nearest(pattern, parts),
                names.join("\n  ")
            );
        }
    }
    let is_wanted = |scenario: &&Scenario| {
        patterns.is_empty() || patterns.iter().any(|pattern| scenario.name.contains(pattern))
    };
    Ok(scenarios().filter(is_wanted).collect())
}

fn places_called(name: &str) -> Result<Vec<&'static Place>> {
    let found: Vec<_> = PLACES.iter().filter(|place| name == "all" || place.name == name).collect();
    if found.is_empty() {
        let names = PLACES.iter().map(|place| place.name);
        bail!("no environment `{name}`{}; there are: {}, and `all`", nearest(name, names), place_names());
    }
    Ok(found)
}

fn place_names() -> String {
    PLACES.iter().map(|place| place.name).collect::<Vec<_>>().join(", ")
}

/// What may have been meant.
fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> String {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(word, name);
    let best = among.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.map(|name| format!(": the nearest is `{name}`")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Choice> {
        Choice::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn chosen(words: &str) -> (Vec<&'static str>, Vec<&'static str>) {
        let choice = parse(words).expect(words);
        let places = choice.places.iter().map(|place| place.name).collect();
        (places, choice.scenarios.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn environments_are_a_list_and_scenarios_are_parts_of_names() {
        let (places, scenarios) = chosen("running::wait load_gzip");
        assert_eq!(places, ["up"]);
        assert_eq!(scenarios, ["images::load_gzip", "running::wait_and_kill"]);
        assert_eq!(chosen("--in nested,up,nested --list").0, ["nested", "up"]);
        let (places, scenarios) = chosen("--in=all");
        assert_eq!(places.len(), PLACES.len());
        assert_eq!(scenarios.len(), super::scenarios().count());
        let recorded = |words| parse(words).map(|choice| (choice.task, choice.in_part)).expect("fine");
        assert_eq!(recorded("--record --in up"), (Task::Record, false));
        assert_eq!(recorded("--record init"), (Task::Record, true));
    }

    #[test]
    fn what_does_not_exist_is_told_with_the_nearest_and_the_list() {
        for (words, told) in [
            ("--in nestd", &["`nestd`", "nearest is `nested`", "up, crun, nested"][..]),
            ("--in", &["`--in` wants names", "nested"]),
            ("runing", &["`runing`", "nearest is `running`", "\n  engine::version\n"]),
            ("running::exit_code_of_run", &["nearest is `running::exit_codes_of_run`"]),
            ("--lst", &["no option `--lst`: the nearest is `--list`"]),
        ] {
            let error = parse(words).expect_err(words).to_string();
            for word in told {
                assert!(error.contains(word), "{words}: no `{word}` in: {error}");
            }
        }
    }
}
