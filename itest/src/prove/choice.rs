//! What the command line of `cargo xtask prove` asks for.

use anyhow::{Context, Result, bail, ensure};
use dockerlaunch_image::spec::Spec;

use super::Requirement;
use crate::suite;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Prove.
    Run,
    /// Prove, and write the result to the documents.
    Record,
    /// Name the files, with their scenarios and symptoms.
    List,
    /// Name what the scenarios need.
    Needs,
}

/// Files to be proved.
#[derive(Debug, Clone)]
pub struct Choice {
    /// To do what.
    pub task: Task,
    /// Parts of their paths or their components' names; all without any.
    patterns: Vec<String>,
    /// Some of them, others each day.
    sample: Option<Sample>,
    /// Also what is not in the default profile.
    full: bool,
}

/// Files of one image, since each image takes a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// So many.
    size: usize,
    /// Of the default image, or of one of the others, counted on and on.
    other: Option<u64>,
    /// How often that image had its turn before.
    turn: u64,
}

impl Sample {
    /// The others have one day in so many, as they have a fifth of the files.
    const OTHERS: u64 = 5;

    fn of(size: usize, day: u64, others: u64) -> Self {
        let before = day / Self::OTHERS;
        if day.is_multiple_of(Self::OTHERS) {
            Sample { size, other: Some(before % others), turn: before / others }
        } else {
            Sample { size, other: None, turn: day - before }
        }
    }
}

impl Choice {
    /// From its words.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut choice = Choice { task: Task::Run, patterns: Vec::new(), sample: None, full: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--record" => choice.task = Task::Record,
                "--list" => choice.task = Task::List,
                "--needs" => choice.task = Task::Needs,
                "--full" => choice.full = true,
                "--sample" => {
                    let size = words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0);
                    let size = size.context("`--sample` wants a number of files")?;
                    choice.sample = Some(Sample::of(size, suite::today()?, others()?.len() as u64));
                }
                option if option.starts_with('-') => {
                    bail!("no option `{option}`; there are: --full, --list, --record, --sample N")
                }
                _ => choice.patterns.push(word.clone()),
            }
        }
        ensure!(
            choice.task != Task::Record || choice.sample.is_none(),
            "`--record` is not for samples, but for all files or those that you name"
        );
        choice.full |= choice.task == Task::Record && choice.patterns.is_empty();
        Ok(choice)
    }

    /// Whether this one is asked for, which is there among so many in an image that has this component for itself.
    pub(super) fn has(&self, index: usize, count: usize, file: &Requirement, with: &str) -> bool {
        let is_named = |pattern: &String| {
            file.path.contains(pattern.as_str()) || file.component == *pattern || with == pattern
        };
        let has_turn = |sample: Sample| {
            let turns = count.div_ceil(sample.size) as u64;
            index as u64 % turns == sample.turn % turns
        };
        (self.patterns.is_empty() || self.patterns.iter().any(is_named)) && self.sample.is_none_or(has_turn)
    }

    /// Whether scenarios that prove no file by its name run too, to see what they open.
    pub(super) fn is_whole(&self) -> bool {
        self.patterns.is_empty() && self.sample.is_none()
    }

    /// The default image, and those with another component: all, or those that are named; of a sample the one that has its turn.
    pub(super) fn images(&self) -> Result<Vec<String>> {
        let others = others()?;
        if let Some(other) = self.sample.and_then(|sample| sample.other) {
            return Ok(others.into_iter().skip(usize::try_from(other)?).take(1).collect());
        }
        let wanted = others.into_iter().filter(|name| self.full || self.patterns.contains(name));
        Ok(std::iter::once(String::new()).chain(wanted).collect())
    }
}

/// What an image may have that the default one has not.
pub(super) fn others() -> Result<Vec<String>> {
    let spec = Spec::embedded()?;
    let usual = spec.select("default", &[], &[], None)?;
    let is_usual = |name: &str| usual.iter().any(|component| component.name == name);
    let others = spec.components.iter().filter(|other| !other.host && !is_usual(&other.name));
    Ok(others.map(|component| component.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(words: &str) -> Result<Choice> {
        Choice::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn file(path: &str, component: &str) -> Requirement {
        Requirement {
            path: path.to_owned(),
            component: component.to_owned(),
            package: String::new(),
            through: None,
            proofs: Vec::new(),
            symptom: None,
            untouched: None,
        }
    }

    #[test]
    fn files_are_chosen_by_parts_of_paths_and_by_components() {
        let choice = parse("xtables/ ps").expect("fine");
        assert!(choice.has(0, 9, &file("usr/lib/dockerlaunch/xtables/libxt_tcp.so", "iptables"), ""));
        assert!(choice.has(0, 9, &file("usr/lib/dockerlaunch/bin/other", "ps"), ""));
        assert!(!choice.has(0, 9, &file("usr/lib/dockerlaunch/bin/dockerd", "engine"), ""));
        assert!(choice.has(0, 9, &file("usr/lib/dockerlaunch/lib/libnftables.so.1", "libraries"), "ps"));
        assert_eq!(choice.images().expect("fine"), [""]);
        assert_eq!(parse("nft git").expect("fine").images().expect("fine"), ["", "nft"]);
        assert!(!choice.is_whole() && parse("--full").expect("fine").is_whole());
    }

    #[test]
    fn each_file_of_each_image_is_in_the_sample_of_one_day_in_turn() {
        let mut choice = parse("--sample 4").expect("fine");
        let file = file("a", "b");
        let others = others().expect("fine").len();
        let mut days = BTreeMap::new();
        // As long as it takes all others to have had three turns, after which the default image has begun anew.
        for day in 7..7 + Sample::OTHERS * 3 * others as u64 {
            choice.sample = Some(Sample::of(4, day, others as u64));
            let images = choice.images().expect("fine");
            let [image] = &images[..] else { panic!("{images:?}") };
            let today: Vec<usize> = (0..10).filter(|index| choice.has(*index, 10, &file, "")).collect();
            assert!(today.len() <= 4, "{today:?}");
            days.entry(image.clone()).or_insert([0; 10]);
            today.into_iter().for_each(|index| days.entry(image.clone()).or_default()[index] += 1);
        }
        let usual = days.remove("").expect("the default image");
        assert_eq!(usual, [4 * others as u64; 10], "one in three of twelve days for each of the others");
        assert_eq!(days.len(), others);
        assert!(days.values().all(|days| *days == [1; 10]), "{days:?}");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (words, told) in [
            ("--sample", "wants a number"),
            ("--sample 0", "wants a number"),
            ("--sample=3", "there are: --full"),
            ("--record --sample 3", "`--record` is not for samples"),
        ] {
            assert!(parse(words).expect_err(words).to_string().contains(told), "{words}");
        }
    }
}
