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
    /// So many of them, others each day, and the day.
    sample: Option<(usize, u64)>,
    /// Also what is not in the default profile.
    full: bool,
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
                    choice.sample =
                        Some((size.context("`--sample` wants a number of files")?, suite::today()?));
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
        let has_turn = |(size, day): (usize, u64)| {
            let days = count.div_ceil(size) as u64;
            index as u64 % days == day % days
        };
        (self.patterns.is_empty() || self.patterns.iter().any(is_named)) && self.sample.is_none_or(has_turn)
    }

    /// Whether scenarios that prove no file by its name run too, to see what they open.
    pub(super) fn is_whole(&self) -> bool {
        self.patterns.is_empty() && self.sample.is_none()
    }

    /// The default image, and those with another component: all, or those that are named.
    pub(super) fn images(&self) -> Result<Vec<String>> {
        let spec = Spec::embedded()?;
        let usual = spec.select("default", &[], &[], None)?;
        let is_usual = |name: &str| usual.iter().any(|component| component.name == name);
        let extra = spec.components.iter().filter(|extra| !extra.host && !is_usual(&extra.name));
        let extra = extra.map(|component| component.name.clone());
        let wanted = extra.filter(|name| self.full || self.patterns.contains(name));
        Ok(std::iter::once(String::new()).chain(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
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
    fn each_file_is_in_the_sample_of_one_day_in_turn() {
        let mut choice = parse("--sample 4").expect("fine");
        let file = file("a", "b");
        let mut days = vec![0; 10];
        for day in 7..10 {
            choice.sample = Some((4, day));
            let today: Vec<usize> = (0..10).filter(|index| choice.has(*index, 10, &file, "")).collect();
            assert!(today.len() <= 4, "{today:?}");
            today.into_iter().for_each(|index| days[index] += 1);
        }
        assert_eq!(days, [1; 10]);
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
