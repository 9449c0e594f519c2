//! Who is whose child: what to end when time is up.

use std::collections::BTreeSet;

/// What `/proc/PID/stat` (proc_pid_stat(5)) says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// That of its parent.
    pub parent: i32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// It has ended, and only its status is left for its parent to take.
    pub ended: bool,
    /// When it was started, in clock ticks after boot: with the pid, what tells it from all others.
    pub started: u64,
}

impl Process {
    /// Parses the text of `/proc/PID/stat`.
    pub fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        // The name may hold anything, parentheses too.
        let (name, rest) = rest.rsplit_once(") ")?;
        // The state, field 3, comes first now.
        let mut fields = rest.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X" | "x");
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { pid: pid.parse().ok()?, parent, name: name.to_owned(), ended, started })
    }
}

/// Everything below a process; it itself is not among them.
pub fn descendants(root: i32, all: &[Process]) -> Vec<&Process> {
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(all.iter().filter(|p| family.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>());
        if family.len() == before {
            return all.iter().filter(|p| p.pid != root && family.contains(&p.pid)).collect();
        }
    }
}

/// The kernel cuts `containerd-shim-runc-v2` off after 15 bytes.
const SHIM: &str = "containerd-shim";

/// What runs in containers, among these: the children of shims. With a container's first process all others in it end.
/// The runtimes that a shim calls to stop containers are its children too, and must be left to do so.
pub fn in_containers<'a>(processes: &[&'a Process]) -> Vec<&'a Process> {
    let shims: BTreeSet<i32> = processes.iter().filter(|p| p.name == SHIM).map(|p| p.pid).collect();
    // `runc:[2:INIT]` is runc inside of a container that is being made.
    let is_runtime =
        |p: &Process| [SHIM, "runc", "crun"].contains(&p.name.as_str()) || p.name.starts_with("runc:[");
    processes.iter().copied().filter(|p| shims.contains(&p.parent) && !is_runtime(p)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, name: &str) -> Process {
        Process { pid, parent, name: name.into(), ended: false, started: 0 }
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) R (b) S 3 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";
        let process = Process::parse(stat).expect("a process");
        assert_eq!((process.pid, process.parent, process.started), (7, 3, 4242));
        assert_eq!((process.name.as_str(), process.ended), ("a) R (b", false));
        assert!(Process::parse(&stat.replace(") S ", ") Z ")).expect("a process").ended);
        assert_eq!(Process::parse("7 (a"), None);
    }

    #[test]
    fn containers_are_found_and_other_peoples_are_not() {
        let all = [
            process(1, 0, "dockerlaunch"),
            process(2, 1, "dockerd"),
            process(3, 2, "containerd"),
            process(4, 1, "containerd-shim"),
            process(5, 4, "sleep"),
            process(6, 5, "sh"),
            process(7, 4, "runc"),
            process(8, 4, "runc:[2:INIT]"),
            process(9, 4, "runcmd"),
            process(90, 0, "containerd-shim"),
            process(91, 90, "theirs"),
        ];
        let ours = descendants(1, &all);
        assert_eq!(ours.iter().map(|p| p.pid).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(in_containers(&ours).iter().map(|p| p.pid).collect::<Vec<_>>(), [5, 9]);
    }

    proptest::proptest! {
        #[test]
        fn any_forest_has_an_end(parents in proptest::collection::vec(0i32..12, 0..12), root in 0i32..12) {
            let all: Vec<Process> = (0..).zip(&parents).map(|(pid, parent)| process(pid, *parent, "x")).collect();
            proptest::prop_assert!(descendants(root, &all).iter().all(|p| p.pid != root));
        }

        #[test]
        fn no_text_is_too_odd(stat in ".{0,80}") {
            let _ = Process::parse(&stat);
        }
    }
}
