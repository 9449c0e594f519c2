//! `git submodule`: git has it as a shell script around its own `git submodule--helper`, and the image has no shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{handoff, say, signals};

/// An option of the script: long, short, and whether a value follows.
type Known = (&'static str, &'static str, bool);

const QUIET: Known = ("--quiet", "-q", false);
const RECURSIVE: Known = ("--recursive", "", false);
const FORCE: Known = ("--force", "-f", false);

/// What each subcommand takes (git-submodule.sh of git 2.53).
const SUBCOMMANDS: &[(&str, &[Known])] = &[
    (
        "update",
        &[
            QUIET,
            RECURSIVE,
            FORCE,
            ("--verbose", "-v", false),
            ("--progress", "", false),
            ("--init", "-i", false),
            ("--require-init", "", false),
            ("--remote", "", false),
            ("--no-fetch", "-N", false),
            ("--rebase", "-r", false),
            ("--merge", "-m", false),
            ("--checkout", "", false),
            ("--dissociate", "", false),
            ("--recommend-shallow", "", false),
            ("--no-recommend-shallow", "", false),
            ("--single-branch", "", false),
            ("--no-single-branch", "", false),
            ("--depth", "", true),
            ("--jobs", "-j", true),
            ("--filter", "", true),
            ("--reference", "", true),
            ("--ref-format", "", true),
        ],
    ),
    ("init", &[QUIET]),
    ("status", &[QUIET, RECURSIVE, ("--cached", "", false)]),
    ("sync", &[QUIET, RECURSIVE]),
    ("deinit", &[QUIET, FORCE, ("--all", "", false)]),
];

/// Becomes `git submodule--helper`; returns the exit status where that fails.
pub fn git_submodule(args: &[OsString]) -> u8 {
    let helper = match translate(args) {
        Ok(helper) => helper,
        Err(message) => {
            say::error(&format!("git submodule: {message}\n"));
            return 1;
        }
    };
    if let Err(error) = signals::unblock_all() {
        say::error(&format!("git submodule: cannot reset the signal mask: {error}\n"));
        return 126;
    }
    let mut git = Command::new("git");
    // As the script does: what .gitmodules names does not come from the user, and some kinds of URL are for users only.
    let error = git.arg("submodule--helper").args(helper).env("GIT_PROTOCOL_FROM_USER", "0").exec();
    say::problem(&handoff::exec_failed("git", &error));
    handoff::exec_status(&error)
}

/// The helper's arguments, from those of the script.
fn translate(args: &[OsString]) -> Result<Vec<OsString>, String> {
    let is_option = |arg: &OsString| arg.as_bytes().starts_with(b"-");
    // Options before the subcommand are as good as those after it.
    let name = args.iter().position(|arg| !is_option(arg));
    let (before, name, after) = match name {
        Some(place) => (&args[..place], args[place].as_os_str(), &args[place + 1..]),
        None => (args, OsStr::new("status"), &[][..]),
    };
    let Some((name, known)) = SUBCOMMANDS.iter().find(|(known, _)| *known == name) else {
        let here: Vec<&str> = SUBCOMMANDS.iter().map(|(name, _)| *name).collect();
        let name = name.to_string_lossy();
        return Err(format!("`{name}` is not supported: it takes a shell; known: {}", here.join(", ")));
    };
    let mut helper: Vec<OsString> = vec![(*name).into()];
    let mut rest = [before, after].concat().into_iter().peekable();
    while let Some(arg) = rest.next_if(is_option) {
        if arg == "--" {
            break;
        }
        let unknown = || {
            let options: Vec<&str> = known.iter().map(|(long, ..)| *long).collect();
            let arg = arg.to_string_lossy();
            format!("{name}: option `{arg}` is not supported; known: {}", options.join(" "))
        };
        let arg = arg.to_str().ok_or_else(unknown)?;
        let (long, joined) = option(known, arg).ok_or_else(unknown)?;
        match long {
            ("--verbose", ..) => helper.retain(|before| before != "--quiet"),
            (long, _, false) => helper.push(long.into()),
            (long, _, true) => {
                let value = joined.map(OsString::from).or_else(|| rest.next());
                let value = value.filter(|value| !value.is_empty());
                let mut whole = OsString::from(format!("{long}="));
                whole.push(value.ok_or_else(|| format!("{name}: `{long}` needs a value"))?);
                helper.push(whole);
            }
        }
    }
    helper.push("--".into());
    helper.extend(rest);
    Ok(helper)
}

/// The option that this word is, and the value that is joined to it: `--depth=1`, `-j4`.
fn option<'a>(known: &[Known], word: &'a str) -> Option<(Known, Option<&'a str>)> {
    known.iter().find_map(|&(long, short, valued)| {
        if word == long || (word == short && !short.is_empty()) {
            return Some(((long, short, valued), None));
        }
        let joined = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        let joined = joined.or_else(|| word.strip_prefix(short).filter(|_| !short.is_empty()));
        joined.filter(|_| valued).map(|value| ((long, short, valued), Some(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<String, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let helper = translate(&args)?;
        Ok(helper.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_dockerd_and_buildkit_run_is_what_the_script_makes_of_it() {
        let same = "update --init --recursive --depth=1 --";
        assert_eq!(translated("update --init --recursive --depth=1").unwrap(), same);
        assert_eq!(translated("update --init --recursive --depth 1").unwrap(), same);
        assert_eq!(
            translated("-q update -i -j4 -j 4 -- a b").unwrap(),
            "update --quiet --init --jobs=4 --jobs=4 -- a b"
        );
        assert_eq!(
            translated("--quiet update -v -N -r -f -m a -b").unwrap(),
            "update --no-fetch --rebase --force --merge -- a -b"
        );
    }

    #[test]
    fn no_subcommand_is_status() {
        assert_eq!(translated("").unwrap(), "status --");
        assert_eq!(translated("--cached").unwrap(), "status --cached --");
        assert_eq!(translated("sync --recursive lib").unwrap(), "sync --recursive -- lib");
    }

    #[test]
    fn what_takes_a_shell_or_is_unknown_is_named() {
        assert!(translated("foreach ls").unwrap_err().contains("`foreach` is not supported"));
        let error = translated("update --resursive").unwrap_err();
        assert!(error.contains("`--resursive`") && error.contains("--recursive"), "{error}");
        assert!(translated("update --init=yes").unwrap_err().contains("`--init=yes`"));
        assert!(translated("init --recursive").is_err());
        assert_eq!(translated("update --depth").unwrap_err(), "update: `--depth` needs a value");
        assert_eq!(translated("update --depth=").unwrap_err(), "update: `--depth` needs a value");
    }
}
