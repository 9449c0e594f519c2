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

/// The short names, which are the same in every dockerd since 17.
const SHORT: &[(&str, &str)] = &[
    ("-b", "bridge"),
    ("-D", "debug"),
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

/// The options of a command line; each of its words must be one option, as in every [`super::Engine`].
pub fn given(args: &[String]) -> Vec<Given<'_>> {
    let long = |name| SHORT.iter().find(|(short, _)| *short == name).map(|(_, long)| *long);
    scan(args)
        .filter_map(|option| {
            let name = long(option.name)
                .or_else(|| option.name.strip_prefix("--"))
                .filter(|name| !name.is_empty())?;
            Some(Given { name, value: option.value })
        })
        .collect()
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
