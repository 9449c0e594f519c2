//! dockerd's command line as dockerd reads it (spf13/pflag): `--name value`, `--name=value`, `-n value`, `-nvalue`,
//! `-n=value`, several short switches in one word, and nothing but operands after `--`.

/// Options that take their value only after `=` (moby cmd/dockerd, `BoolVar`), of every release.
const SWITCHES: &[&str] = &[
    "--allow-direct-routing",
    "--api-enable-cors",
    "--cri-containerd",
    "--daemon",
    "--debug",
    "--disable-legacy-registry",
    "--experimental",
    "--help",
    "--icc",
    "--init",
    "--ip-forward",
    "--ip-forward-no-drop",
    "--ip-masq",
    "--ip6tables",
    "--iptables",
    "--ipv6",
    "--live-restore",
    "--no-new-privileges",
    "--raw-logs",
    "--restart",
    "--rootless",
    "--selinux-enabled",
    "--tls",
    "--tlsverify",
    "--userland-proxy",
    "--validate",
    "--version",
    "-D",
    "-d",
    "-h",
    "-r",
    "-v",
];

/// An option with its value, or a word that is no option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given<'a> {
    /// As it is spelled, dashes included: `--graph`, `-g`. What follows `--` stands under that name.
    pub(super) name: &'a str,
    /// Its value.
    pub(super) value: Option<&'a str>,
    /// The words that it is made of.
    pub(super) words: &'a [String],
}

/// The options in order. Each word must be one option: see [`split_clusters`].
pub(super) fn scan(args: &[String]) -> impl Iterator<Item = Given<'_>> {
    let mut rest = args;
    std::iter::from_fn(move || {
        let (name, attached) = split_word(rest.first()?);
        let length = if name == "--" { rest.len() } else { 1 + usize::from(takes_next(name, attached)) };
        let (words, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let next = words.get(1).filter(|_| name != "--").map(String::as_str);
        Some(Given { name, value: attached.or(next), words })
    })
}

/// Whether the words that follow an option would be taken for something else than options.
pub(super) fn is_unfinished(given: &Given<'_>) -> bool {
    given.name == "--" || takes_next(given.name, given.value)
}

/// The same command line with one option a word: `-Ds x` becomes `-D -s x`.
pub(super) fn split_clusters(args: &[String]) -> Vec<String> {
    let mut out = Vec::with_capacity(args.len());
    let mut words = args.iter().cloned().collect::<std::collections::VecDeque<_>>();
    while let Some(word) = words.pop_front() {
        let (name, attached) = split_word(&word);
        let has_value = word.starts_with("--") || word[name.len()..].starts_with('=');
        let is_cluster = !has_value && SWITCHES.contains(&name);
        match attached.filter(|_| is_cluster) {
            Some(others) => {
                words.push_front(format!("-{others}"));
                out.push(name.to_owned());
            }
            None => {
                let values = if name == "--" { words.len() } else { takes_next(name, attached).into() };
                out.push(word);
                out.extend(words.drain(..values.min(words.len())));
            }
        }
    }
    out
}

/// An option's name and the value in the same word; another word is all name.
fn split_word(word: &str) -> (&str, Option<&str>) {
    if word.starts_with("--") {
        return word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    }
    let Some(letter) = word.strip_prefix('-').and_then(|w| w.chars().next()) else { return (word, None) };
    let (name, value) = word.split_at(1 + letter.len_utf8());
    (name, Some(value).filter(|v| !v.is_empty()).map(|v| v.strip_prefix('=').unwrap_or(v)))
}

/// Whether the option's value is the next word.
fn takes_next(name: &str, attached: Option<&str>) -> bool {
    attached.is_none() && name.len() > 1 && name.starts_with('-') && name != "--" && !SWITCHES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> Vec<String> {
        words.split(' ').map(str::to_owned).collect()
    }

    fn seen(words: &str) -> String {
        let args = args(words);
        let given: Vec<String> = scan(&args)
            .map(|g| format!("{}{}", g.name, g.value.map_or(String::new(), |v| format!("({v})"))))
            .collect();
        given.join(" ")
    }

    #[test]
    fn every_spelling_of_a_value() {
        assert_eq!(seen("-s x -sx -s=x --driver x --driver=x"), "-s(x) -s(x) -s(x) --driver(x) --driver(x)");
        assert_eq!(seen("--label --graph=/x -l -g"), "--label(--graph=/x) -l(-g)");
        assert_eq!(seen("--label= --mtu"), "--label() --mtu");
        assert_eq!(seen("-é x -"), "-é(x) -");
    }

    #[test]
    fn switches_take_no_word() {
        assert_eq!(seen("--debug x --tls=false -D=0 y"), "--debug x --tls(false) -D(0) y");
    }

    #[test]
    fn after_two_dashes_nothing_is_an_option() {
        let words = args("-D -- -s overlay");
        let last = scan(&words).last().expect("two");
        assert_eq!((last.name, last.words), ("--", &words[1..]));
        assert_eq!(split_clusters(&args("-- -Ds x")), args("-- -Ds x"));
    }

    #[test]
    fn clusters_are_taken_apart_and_values_are_not() {
        assert_eq!(split_clusters(&args("-Ds overlay -Drv")), args("-D -s overlay -D -r -v"));
        assert_eq!(
            split_clusters(&args("-DHfd:// -sD x -D=false -Ds=x")),
            args("-D -Hfd:// -sD x -D=false -D -s=x")
        );
        assert_eq!(split_clusters(&args("--label -Ds -g -Dr")), args("--label -Ds -g -Dr"));
    }

    proptest::proptest! {
        /// Nothing is lost or invented, whatever is written.
        #[test]
        fn the_words_of_all_options_are_the_command_line(args in proptest::collection::vec("[-=Dsé/a-c]{0,6}", 0..8)) {
            let words: Vec<String> = scan(&args).flat_map(|g| g.words.to_vec()).collect();
            proptest::prop_assert_eq!(&words, &args);
            let split = split_clusters(&args);
            proptest::prop_assert_eq!(&split_clusters(&split), &split);
        }
    }
}
