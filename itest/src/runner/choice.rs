//! What the command line asks for.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};

use crate::Scenario;
use crate::environments::{PLACES, Place, scenarios};

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
        let (mut places, mut without) = (Vec::new(), Vec::<&Place>::new());
        let mut patterns: Vec<&str> = Vec::new();
        let mut everywhere = false;
        let mut tasks = BTreeSet::new();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))) {
                ("--in", value) => {
                    let names = value.or_else(|| words.next()).filter(|names| !names.starts_with("--"));
                    let names = names.ok_or_else(|| anyhow!("`--in` wants names: {}", place_names()))?;
                    for name in names.split(',') {
                        if let Some(name) = name.strip_prefix('-') {
                            without.extend(places_called(name)?);
                        } else {
                            everywhere |= name == ALL;
                            places.extend(places_called(name)?);
                        }
                    }
                }
                (option, None) if TASKS.contains(&option) => {
                    tasks.insert(option);
                }
                (option, Some(_)) if TASKS.contains(&option) => bail!("`{option}` takes no value"),
                (option, _) if option.starts_with('-') => {
                    let known = ["--in"].iter().chain(&TASKS).copied();
                    let names = known.clone().collect::<Vec<_>>().join(", ");
                    bail!("no option `{option}`{}; there are: {names}", nearest(option, known))
                }
                _ => patterns.push(word),
            }
        }
        // `--needs` is what `cargo xtask` asks, with the user's words.
        let task = match (tasks.contains("--list"), tasks.contains("--record")) {
            (true, true) => bail!("`--list` runs nothing that `--record` could write down: give one of them"),
            _ if tasks.contains("--needs") => Task::Needs,
            (true, false) => Task::List,
            (false, true) => Task::Record,
            (false, false) => Task::Run,
        };
        if places.is_empty() {
            places.extend(places_called("up")?);
        }
        let mut seen: BTreeSet<&str> = without.iter().map(|place| place.name).collect();
        places.retain(|place: &&Place| seen.insert(place.name));
        let scenarios = matching(&patterns)?;
        // What is named is an error where none of it can run; not so what was not named.
        if everywhere {
            places.retain(|place| scenarios.iter().any(|scenario| place.runs(scenario)));
        }
        if places.is_empty() {
            bail!("in none of these environments there is anything to run");
        }
        Ok(Choice { places, scenarios, task, in_part: !patterns.is_empty() })
    }
}

/// Every environment, on the command line.
const ALL: &str = "all";

/// The options that say what is to be done.
const TASKS: [&str; 3] = ["--list", "--record", "--needs"];

/// Whoever looks for these here finds them there.
const OUTSIDE: &str = "what wants instances of its own is no scenario: `cargo xtask test root --full` runs `userns::remapped`, \
                       `swarm::two_nodes` and all faults";

fn matching(patterns: &[&str]) -> Result<Vec<&'static Scenario>> {
    for pattern in patterns {
        if !scenarios().any(|scenario| scenario.name.contains(pattern)) {
            let names: Vec<&str> = scenarios().map(|scenario| scenario.name).collect();
            let parts = names.iter().flat_map(|name| name.split("::")).chain(names.iter().copied());
            if PLACES.iter().any(|place| place.name == *pattern) {
                bail!(
                    "no scenario has `{pattern}` in its name; the environment is meant by `--in {pattern}`"
                );
            }
            bail!(
                "no scenario has `{pattern}` in its name{}; {OUTSIDE}; there are:\n  {}",
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
    let found: Vec<_> = PLACES.iter().filter(|place| name == ALL || place.name == name).collect();
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
        assert_eq!(chosen("--in all routing_mesh").0, ["vm"]);
        let but_the_machine = chosen("--in all,-vm").0;
        assert_eq!(but_the_machine.len(), PLACES.len() - 1);
        assert!(!but_the_machine.contains(&"vm"));
        assert_eq!(chosen("--in -vm,all").0, but_the_machine);
        assert_eq!(chosen("--in up,vm routing_mesh").0, ["up", "vm"]);
        let recorded = |words| parse(words).map(|choice| (choice.task, choice.in_part)).expect("fine");
        assert_eq!(recorded("--record --in up"), (Task::Record, false));
        assert_eq!(recorded("--record init"), (Task::Record, true));
        assert_eq!(recorded("--record init --needs"), (Task::Needs, true));
    }

    #[test]
    fn what_does_not_exist_is_told_with_the_nearest_and_the_list() {
        for (words, told) in [
            ("--in nestd", &["`nestd`", "nearest is `nested`", "up, crun, nested"][..]),
            ("--in all,-vm routing_mesh", &["anything to run"]),
            ("--in up,-up", &["anything to run"]),
            ("--in all,-wm", &["`wm`", "nearest is `vm`"]),
            ("--in", &["`--in` wants names", "nested"]),
            ("runing", &["`runing`", "nearest is `running`", "\n  engine::version\n"]),
            ("running::exit_code_of_run", &["nearest is `running::exit_codes_of_run`"]),
            ("--lst", &["no option `--lst`: the nearest is `--list`"]),
            ("--record=x", &["`--record` takes no value"]),
            ("--in --list", &["`--in` wants names"]),
            ("--list --record", &["give one of them"]),
            ("docker20", &["`--in docker20`"]),
            ("userns", &["cargo xtask test root --full", "`userns::remapped`"]),
        ] {
            let error = parse(words).expect_err(words).to_string();
            for word in told {
                assert!(error.contains(word), "{words}: no `{word}` in: {error}");
            }
        }
    }
}
