//! Whether Docker can run here, point by point: what each is for, and how the evidence is judged.

use std::fmt::Write as _;

use serde::Serialize;

use crate::facts::{CGROUP_ROOT, Capability, Facts, Version, process};
use crate::rules::privileges::cgroups_are_read_only;
use crate::{Plan, Problem, masked, render};

mod kernel;

pub use kernel::{Built, CONFIGS, Kernel};

/// A line each: `name|!, + or ?|how to try it|options of the kernel|what is missing without it|remedy`, below `[group]`.
///
/// Without `!` Docker does not work, without `?` a part of it does not; `+`: a part where the kernel has no such thing, all of
/// Docker where it refuses it. Alternatives of options are separated by `/` and
/// may have names; the module of an option follows it after `=`. How it is tried: see [`from_facts`] and
/// `dockerlaunch::check`; `~` marks a try that tells less than the options do.
const ITEMS: &str = include_str!("check/items.txt");

/// A point of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "described above")]
pub struct Item {
    pub group: &'static str,
    pub name: &'static str,
    lacking: Status,
    refused: Status,
    pub trial: &'static str,
    pub weak: bool,
    options: &'static str,
    consequence: &'static str,
    remedy: &'static str,
}

/// All points, in order.
pub fn items() -> impl Iterator<Item = Item> {
    let mut group = "";
    ITEMS.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[') {
            group = name.trim_end_matches(']');
            return None;
        }
        let mut fields = line.split('|');
        let mut field = || fields.next().unwrap_or_default();
        let (name, weight, trial) = (field(), field(), field());
        Some(Item {
            group,
            name,
            lacking: if weight == "!" { Status::Missing } else { Status::Degraded },
            refused: if weight == "?" { Status::Degraded } else { Status::Missing },
            trial: trial.trim_start_matches('~'),
            weak: trial.starts_with('~'),
            options: field(),
            consequence: field(),
            remedy: field(),
        })
    })
}

impl Item {
    /// The alternatives: a name, and its options with their modules.
    fn alternatives(
        &self,
    ) -> impl Iterator<Item = (&'static str, Vec<(&'static str, Option<&'static str>)>)> {
        self.options.split('/').filter(|text| !text.is_empty()).map(|text| {
            let (name, options) = text.split_once(':').unwrap_or(("", text));
            let option = |word: &'static str| {
                word.split_once('=').map_or((word, None), |(option, module)| (option, Some(module)))
            };
            (name, options.split(' ').map(option).collect())
        })
    }

    /// Whether the configuration of a kernel tells anything about it.
    pub fn has_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// Whether the kernel has it as a module that a try would load.
    pub fn is_module(&self, kernel: &Kernel) -> bool {
        matches!(self.built(kernel), Some(Ok((Built::Module, _))))
    }

    /// How the kernel's files say that it is there, or which options are missing; `None`: they say nothing.
    fn built(&self, kernel: &Kernel) -> Option<Result<(Built, String), Vec<&'static str>>> {
        let mut lacks = None;
        let mut names = Vec::new();
        let mut best = None;
        for (name, options) in self.alternatives() {
            let built: Vec<_> =
                options.iter().map(|(option, module)| kernel.built(option, *module)).collect();
            let missing: Vec<&str> = options
                .iter()
                .zip(&built)
                .filter(|(_, built)| **built == Some(Built::Not))
                .map(|((option, _), _)| *option)
                .collect();
            let worst = built.iter().copied().min().flatten();
            match worst {
                _ if !missing.is_empty() => {
                    lacks.get_or_insert(missing);
                }
                Some(worst) => {
                    best = best.max(Some(worst));
                    names.push(match (name, &options[..]) {
                        ("", [(only, _)]) => {
                            format!("CONFIG_{only}{}", if worst == Built::In { "=y" } else { "=m" })
                        }
                        ("", [(first, _), rest @ ..]) => format!("CONFIG_{first} and {} more", rest.len()),
                        _ => name.to_owned(),
                    });
                }
                // Of some options nothing is known.
                None => {}
            }
        }
        match best {
            Some(best) => Some(Ok((best, names.join(", ")))),
            None => lacks.map(Err),
        }
    }
}

/// What came of a try, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It works.
    Works(String),
    /// The kernel has no such system call.
    Lacks(String),
    /// The kernel has no such thing, or it is not allowed here to those who may do everything.
    Absent(String),
    /// We may not try.
    Refused(String),
}

/// How a point stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Ok,
    /// Docker runs, but a part of it does not work.
    Degraded,
    /// Docker does not work.
    Missing,
    /// It takes root, or a configuration of the kernel, to know.
    Unknown,
}

impl Status {
    /// As it is written.
    pub fn name(self) -> &'static str {
        ["ok", "degraded", "missing", "unknown"][self as usize]
    }
}

/// One point, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The area.
    pub group: &'static str,
    /// The point; with its group it is unique, and stays.
    pub item: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was seen.
    pub evidence: String,
    /// What does not work.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub consequence: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub remedy: String,
}

/// Judges a point by what came of a try and what the kernel's files say.
pub fn judge(item: &Item, trial: Option<Trial>, kernel: &Kernel) -> Line {
    let built = item.built(kernel);
    let not_set = |options: &[&str]| {
        let (first, rest) = options.split_first().unwrap_or((&"?", &[]));
        rest.iter().fold(format!("CONFIG_{first}"), |all, next| all + " CONFIG_" + next)
    };
    let (status, evidence, remedy) = match (trial, &built) {
        (Some(Trial::Works(how)), None | Some(Ok(_))) => (Status::Ok, how, None),
        (Some(Trial::Works(how)), Some(Err(_))) if !item.weak => (Status::Ok, how, None),
        (Some(Trial::Lacks(why)), _) => (item.lacking, why, None),
        (Some(Trial::Absent(why)), _) if !item.weak || built.is_none() => {
            let remedy = match &built {
                Some(Ok((Built::Module, _))) => item.module().map(|module| format!("modprobe {module}")),
                _ => None,
            };
            (item.refused, why, remedy)
        }
        (_, Some(Ok((_, how)))) => (Status::Ok, how.clone(), None),
        (_, Some(Err(options))) => (
            item.lacking,
            "not in this kernel".to_owned(),
            Some(format!("a kernel with {}", not_set(options))),
        ),
        (Some(Trial::Refused(why)), None) => (Status::Unknown, why, Some("run the check as root".to_owned())),
        (_, None) => (Status::Unknown, "nothing tells".to_owned(), None),
    };
    let is_bad = matches!(status, Status::Degraded | Status::Missing);
    let options =
        || item.alternatives().next().map(|(_, options)| options.iter().map(|(o, _)| *o).collect::<Vec<_>>());
    let remedy = match remedy {
        Some(remedy) => remedy,
        None if !is_bad => String::new(),
        None if !item.remedy.is_empty() => item.remedy.to_owned(),
        None => options().map(|options| format!("a kernel with {}", not_set(&options))).unwrap_or_default(),
    };
    let consequence = if is_bad { item.consequence.to_owned() } else { String::new() };
    Line { group: item.group, item: item.name, status, evidence, consequence, remedy }
}

impl Item {
    fn module(&self) -> Option<&'static str> {
        self.alternatives().flat_map(|(_, options)| options).find_map(|(_, module)| module)
    }
}

/// What the facts say of a point: `c:` a controller of cgroups, `t:` a type of file system, `p:` our privileges.
pub fn from_facts(item: &Item, facts: &Facts) -> Option<Trial> {
    let (kind, what) = item.trial.split_once(':')?;
    let process = &facts.process;
    let yes = |works: bool, evidence: String| {
        Some(if works { Trial::Works(evidence) } else { Trial::Absent(evidence) })
    };
    match (kind, what) {
        ("c", names) => controller(names, facts),
        ("b", name) if facts.cgroup_version() == Some(Version::V1) => controller(name, facts),
        ("t", name) => facts
            .kernel
            .filesystems
            .iter()
            .any(|fs| fs == name)
            .then(|| Trial::Works("the kernel has it".into())),
        ("p", "cgroup") => {
            let mounted = facts.mounts.iter().any(|mount| mount.fstype.starts_with("cgroup"));
            let version = facts.cgroup_version().map(|version| if version == Version::V2 { 2 } else { 1 });
            match version {
                None if facts.kernel.filesystems.is_empty() => None,
                None => yes(false, "the kernel has none".into()),
                Some(_) if cgroups_are_read_only(facts) => yes(false, format!("{CGROUP_ROOT} is read-only")),
                // The launcher mounts it, and so does `up`.
                Some(version) => {
                    yes(true, format!("version {version}{}", if mounted { "" } else { ", not mounted yet" }))
                }
            }
        }
        ("p", "caps") => {
            let missing: Vec<String> = process::REQUIRED
                .iter()
                .filter(|(capability, _)| !process.has(*capability))
                .map(|(capability, _)| format!("CAP_{}", capability.name()))
                .collect();
            let all = missing.is_empty();
            yes(
                all,
                if all {
                    format!("CapEff {:016x}", process.capabilities)
                } else {
                    missing.join(", ") + " absent"
                },
            )
        }
        ("p", "sys") => {
            let mount = facts.mount_of("/proc/sys")?;
            let read_only = mount.is_read_only();
            yes(
                !read_only,
                format!("{} is {}", mount.target, if read_only { "read-only" } else { "writable" }),
            )
        }
        ("p", "resource") => has(Capability::SysResource, process),
        ("p", "module") => has(Capability::SysModule, process),
        ("p", "nofile") => {
            let (_, hard) = process.nofile;
            yes(hard >= 65536 || process.has(Capability::SysResource), format!("at most {hard} open files"))
        }
        _ => None,
    }
}

fn has(capability: Capability, process: &process::Process) -> Option<Trial> {
    let name = capability.name();
    Some(if process.in_user_namespace && process.has(capability) {
        Trial::Absent(format!("CAP_{name}, but in a user namespace"))
    } else if process.has(capability) {
        Trial::Works(format!("CAP_{name}"))
    } else {
        Trial::Absent(format!("CAP_{name} absent"))
    })
}

/// Cgroup v2 has no list of what is always there.
fn controller(names: &str, facts: &Facts) -> Option<Trial> {
    const ALWAYS: [&str; 3] = ["cpuacct", "freezer", "perf_event"];
    let names = || names.split(' ');
    let v2 = facts.cgroups.unified.as_ref().and_then(|unified| unified.controllers.as_ref());
    let works = |name: &str| Some(Trial::Works(format!("controller {name}")));
    if facts.cgroup_version() == Some(Version::V2) {
        let found =
            names().find(|name| ALWAYS.contains(name) || v2.is_some_and(|all| all.iter().any(|c| c == name)));
        return found
            .map_or_else(|| v2.map(|_| Trial::Absent("not among the controllers here".into())), works);
    }
    let known = &facts.cgroups.controllers;
    let found = known.iter().find(|controller| names().any(|name| name == controller.name));
    match found {
        Some(controller) if controller.enabled => works(&controller.name),
        Some(controller) => Some(Trial::Absent(format!("{} is switched off", controller.name))),
        None if known.is_empty() => None,
        None => Some(Trial::Absent("not among the controllers here".into())),
    }
}

/// All of it. In JSON these are the fields, and they stay (docs/check.md).
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Of this form; 1.
    pub version: u32,
    /// `uname -r`, or the file that was checked instead of this machine.
    pub kernel: String,
    /// Where its configuration was found.
    pub config: Option<String>,
    /// Whether Docker can run.
    pub ok: bool,
    /// The points.
    pub lines: Vec<Line>,
    /// What would stop or limit a launch, whole.
    pub problems: Vec<Problem>,
    /// What gives way, and what is dangerous.
    pub remarks: String,
}

impl Checked {
    /// Of these points and, where a launch was planned, of that.
    pub fn new(kernel: String, config: Option<String>, mut lines: Vec<Line>, plan: Option<&Plan>) -> Self {
        let mut problems = Vec::new();
        if let Some(plan) = plan {
            let blocked = [(Status::Missing, plan.blockers()), (Status::Degraded, plan.degradations())];
            for (status, problem) in
                blocked.into_iter().flat_map(|(s, all)| all.into_iter().map(move |p| (s, p)))
            {
                let step = plan.steps.iter().find(|step| problem.is_of_step(step.id.0));
                lines.push(Line {
                    group: "launch",
                    item: step.map_or("", |step| step.id.0),
                    status,
                    evidence: problem.what.clone(),
                    consequence: String::new(),
                    remedy: problem.hints.first().map(|hint| hint.text.clone()).unwrap_or_default(),
                });
                problems.push(problem.clone());
            }
            if problems.is_empty() {
                lines.push(Line {
                    group: "launch",
                    item: "steps",
                    status: Status::Ok,
                    evidence: format!("none of {} is blocked", plan.steps.len()),
                    consequence: String::new(),
                    remedy: String::new(),
                });
            }
        }
        let ok = lines.iter().all(|line| line.status != Status::Missing);
        let remarks = plan.map(render::remarks).unwrap_or_default();
        Self { version: 1, kernel, config, ok, lines, problems, remarks }
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let mut out = format!(
            "kernel {}, configuration: {}\n",
            self.kernel,
            self.config.as_deref().unwrap_or("none found")
        );
        let mut group = "";
        let mut counts = [0; 4];
        let mut untold = Vec::new();
        for line in &self.lines {
            counts[line.status as usize] += 1;
            if line.status == Status::Unknown && line.remedy.is_empty() {
                untold.push(format!("{}.{}", line.group, line.item));
                continue;
            }
            if line.group != group {
                group = line.group;
                let _ = writeln!(out, "\n{group}");
            }
            let Line { item, evidence, consequence, remedy, .. } = line;
            let _ = write!(out, "  {:<8}  {item:<13}  ", line.status.name());
            out += &match consequence.is_empty() {
                true => evidence.clone(),
                false => format!("{consequence}: {evidence}"),
            };
            if !remedy.is_empty() {
                out = out + "; remedy: " + remedy;
            }
            out.push('\n');
        }
        if !untold.is_empty() {
            out = out + "\nunknown without the configuration of the kernel: " + &untold.join(" ") + "\n";
        }
        for problem in &self.problems {
            out = out + "\n" + &render::problem(problem);
        }
        let [ok, degraded, missing, unknown] = counts;
        let word =
            if self.ok { "ok: Docker can run here" } else { "missing: Docker cannot run here as it is" };
        let _ = writeln!(
            out,
            "\n{}{word} ({ok} ok, {degraded} degraded, {missing} missing, {unknown} unknown)",
            self.remarks
        );
        masked(&out)
    }
}

#[cfg(test)]
mod tests;
