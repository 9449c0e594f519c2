//! The options in an engine's command line by their long names, as daemon.json and the environment have them.

use super::options::{is_unfinished, scan};

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given<'a> {
    /// Its long name, without dashes.
    pub name: &'a str,
    /// Its value; a switch may have none.
    pub value: Option<&'a str>,
}

impl Given<'_> {
    /// Whether a switch is on; the words for "off" are those of Go's `strconv.ParseBool`.
    pub fn is_on(&self) -> bool {
        !matches!(self.value, Some("0" | "f" | "F" | "false" | "FALSE" | "False"))
    }
}

/// The short names, which are the same in every dockerd since 17; `-d` made a daemon of the `docker` of old.
const SHORT: &[(&str, &str)] = &[
    ("-b", "bridge"),
    ("-D", "debug"),
    ("-d", "daemon"),
    ("-G", "group"),
    ("-H", "host"),
    ("-h", "help"),
    ("-l", "log-level"),
    ("-p", "pidfile"),
    ("-r", "restart"),
    ("-s", "storage-driver"),
    ("-v", "version"),
];

/// Options whose values may be secrets: what of them comes from the environment or a file has no place on a command line, which
/// everybody reads.
pub(crate) const SECRET: &[&str] = &["http-proxy", "https-proxy", "log-opt", "no-proxy"];

/// The long name of an option as it is spelled, without dashes.
fn long_name(spelled: &str) -> Option<&str> {
    let by_short = SHORT.iter().find(|(short, _)| *short == spelled).map(|(_, long)| *long);
    by_short.or_else(|| spelled.strip_prefix("--")).filter(|name| !name.is_empty())
}

/// The options of a command line; each of its words must be one option, as in every [`super::Engine`].
pub fn given(args: &[String]) -> Vec<Given<'_>> {
    scan(args)
        .filter_map(|option| Some(Given { name: long_name(option.name)?, value: option.value }))
        .collect()
}

/// The command line without these options and their values. Each word must be one option.
pub(crate) fn without(args: &[String], names: &[&str]) -> Vec<String> {
    let is_one = |spelled| long_name(spelled).is_some_and(|name| names.contains(&name));
    scan(args).filter(|option| !is_one(option.name)).flat_map(|option| option.words.to_vec()).collect()
}

/// Adds an option where dockerd reads it as one: not behind `--`, nor behind an option that lacks its value.
pub(crate) fn add(args: &mut Vec<String>, option: String) {
    let tail = scan(args).last().filter(is_unfinished).map_or(0, |last| last.words.len());
    args.insert(args.len() - tail, option);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_have_their_long_names() {
        let args = words("-D -l debug --mtu=1 x -Hfd:// --tls -- --dns 1");
        let seen: Vec<(&str, Option<&str>)> =
            given(&args).iter().map(|option| (option.name, option.value)).collect();
        let wanted = [
            ("debug", None),
            ("log-level", Some("debug")),
            ("mtu", Some("1")),
            ("host", Some("fd://")),
            ("tls", None),
        ];
        assert_eq!(seen[..4], wanted[..4]);
        assert_eq!(seen.last(), Some(&wanted[4]));
    }

    #[test]
    fn switches_are_off_by_the_words_of_go() {
        let args = words("--tls=false --iptables=0 --debug=true --icc -D=F");
        let on: Vec<bool> = given(&args).iter().map(Given::is_on).collect();
        assert_eq!(on, [false, false, true, true, false]);
    }

    #[test]
    fn options_are_left_out_however_they_are_spelled() {
        assert_eq!(
            without(&words("-D -Hx --host y --mtu 1 -H=z -- -H"), &["host", "mtu"]),
            words("-D -- -H")
        );
    }

    #[test]
    fn what_is_added_is_an_option() {
        for (line, wanted) in [
            ("-D", "-D --x=1"),
            ("--mtu", "--x=1 --mtu"),
            ("-D -- a", "-D --x=1 -- a"),
            ("--mtu 1", "--mtu 1 --x=1"),
        ] {
            let mut args = words(line);
            add(&mut args, "--x=1".into());
            assert_eq!(args.join(" "), wanted);
        }
    }
}
