//! Secrets never leave in what we print: what is told to people goes through [`masked`], and JSON through [`masked_json`].

use serde::Serialize as _;

/// What stands for a secret, as in dockerd's own messages (daemon/config, `MaskCredentials`).
const MASK: &str = "xxxxx";

/// Parts of names whose values are secrets, as in the options of log drivers (`splunk-token`) and in registry credentials.
const SECRET_PARTS: &[&str] =
    &["password", "passwd", "secret", "token", "apikey", "api-key", "api_key", "access-key", "credential"];

/// Whole names whose values are secrets (docker/cli, config file, "auths").
const SECRET_NAMES: &[&str] = &["auth", "authorization"];

/// The text without users and passwords of URLs and without the values of settings whose names tell of a secret. Rather a
/// word too many is hidden than a letter too few.
pub fn masked(text: &str) -> String {
    mask_settings(&mask_urls(text, is_delimiter), is_delimiter)
}

/// The same for one word of a command line, or one value: white space and quotes are part of it, so a secret goes to its end.
pub fn masked_word(word: &str) -> String {
    let never = |_| false;
    mask_settings(&mask_urls(word, never), never)
}

/// The same for a JSON text, which stays one: its strings are taken out of their quotes before they are looked at.
pub fn masked_json(json: &str) -> String {
    mask_strings(json, masked)
}

fn mask_strings(json: &str, mask: fn(&str) -> String) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut is_value_of_secret = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => {
                rest.find(|c| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9')).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        if first == '"' {
            let text: String = serde_json::from_str(token).unwrap_or_default();
            let is_key = rest.trim_start().starts_with(':');
            out += &quoted(&if is_value_of_secret { MASK.to_owned() } else { mask(&text) });
            is_value_of_secret = is_key && is_secret(&text);
        } else if is_value_of_secret && (first == '-' || first.is_ascii_digit()) {
            out += &quoted(MASK);
            is_value_of_secret = false;
        } else {
            out += token;
            // An object or list is looked into.
            is_value_of_secret &= first == ':' || first.is_whitespace();
        }
    }
    out
}

/// Of the string that the text begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// A file: each string of a JSON text is a value.
fn masked_file(text: &str) -> String {
    let is_json = serde_json::from_str::<serde_json::Value>(text).is_ok();
    if is_json { mask_strings(text, masked_word) } else { masked(text) }
}

/// For serde: the content of a file, masked.
pub(crate) fn serialize<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&masked_file(text))
}

/// The same for one that may be absent.
pub(crate) fn serialize_option<S: serde::Serializer>(
    text: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => serializer.serialize_some(&masked_file(text)),
        None => serializer.serialize_none(),
    }
}

/// For serde: words of a command line, masked.
pub(crate) fn serialize_words<S: serde::Serializer>(
    words: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    words.iter().map(|word| masked_word(word)).collect::<Vec<_>>().serialize(serializer)
}

/// For serde: variables, masked.
pub(crate) fn serialize_variables<S: serde::Serializer>(
    variables: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let masked = variables.iter().map(|(name, value)| (name.clone(), masked_word(value)));
    masked.collect::<Vec<_>>().serialize(serializer)
}

/// `user:password@`, with a scheme before it or, as proxies may be written, without.
fn mask_urls(text: &str, is_delimiter: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        // A password may hold anything but white space and quotes, even another `@` or a slash that should be escaped.
        let start = before
            .rfind(is_delimiter)
            .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        let user = match word.find("://") {
            Some(scheme) => Some(scheme + "://".len()),
            // `label=user:password@host`; `git@host` has no password.
            None => word.find(':').map(|colon| word[..colon].rfind('=').map_or(0, |i| i + 1)),
        };
        match user {
            Some(user) if !word[user..].is_empty() => {
                out.push_str(&before[..start + user]);
                out.push_str(MASK);
                out.push(':');
                out.push_str(MASK);
            }
            _ => out.push_str(before),
        }
        out.push('@');
        rest = &after[1..];
        // What follows up to the next delimiter may still be the password.
        if user.is_some() {
            let end = rest.find(is_delimiter).unwrap_or(rest.len());
            let end = rest[..end].find("://").unwrap_or(end);
            if let Some(last) = rest[..end].rfind('@') {
                rest = &rest[last + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// `name=value`, `"name": "value"` and the same with escaped quotes, where the name tells of a secret.
fn mask_settings(text: &str, is_delimiter: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |i| start + i);
        let value = if is_secret(&rest[start..end]) { value_after(&rest[end..], is_delimiter) } else { None };
        match value {
            Some((from, to)) => {
                out.push_str(&rest[..end + from]);
                out.push_str(MASK);
                rest = &rest[end + to..];
            }
            None => {
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str()) || SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// Where the value stands in the text after a name, if that is the name of a setting.
fn value_after(text: &str, is_delimiter: fn(char) -> bool) -> Option<(usize, usize)> {
    // The name's own closing quote, escaped or not: then the text is JSON.
    let name_end = text.find(|c| c != '\\').unwrap_or(text.len());
    let is_json = text[name_end..].starts_with('"');
    let separator = if is_json { name_end + 1 } else { 0 };
    let spaces = |from: usize| from + text[from..].find(|c: char| !c.is_whitespace()).unwrap_or(0);
    let separator = if is_json { spaces(separator) } else { separator };
    let expected = if is_json { ':' } else { '=' };
    let after = text[separator..].strip_prefix(expected)?;
    let start = spaces(text.len() - after.len());
    let quote_end = start + text[start..].find(|c| c != '\\').unwrap_or(0);
    let quote = text[quote_end..].chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
    if let Some(quote) = quote.filter(|quote| is_json || is_delimiter(*quote)) {
        let opening = &text[start..=quote_end];
        let from = quote_end + quote.len_utf8();
        return Some((from, closing(text, from, opening)));
    }
    let to = text[start..].find(|c: char| is_delimiter(c) || is_json && matches!(c, ',' | '}' | ']'));
    let to = to.map_or(text.len(), |i| start + i);
    // An object or list is looked into; nothing at all is no secret.
    (to > start && !(is_json && text[start..].starts_with(['{', '[']))).then_some((start, to))
}

/// The end of a quoted value: the same quote with as many backslashes before it as the opening one had.
fn closing(text: &str, from: usize, opening: &str) -> usize {
    let depth = opening.len() - 1;
    let quote = opening.trim_start_matches('\\');
    let mut at = from;
    while let Some(found) = text[at..].find(quote) {
        let end = at + found;
        let backslashes = text[from..end].len() - text[from..end].trim_end_matches('\\').len();
        if backslashes <= depth {
            return end - backslashes;
        }
        at = end + quote.len();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_of_urls_are_hidden() {
        for (text, wanted) in [
            ("http://u:p@proxy:3128", "http://xxxxx:xxxxx@proxy:3128"),
            ("http://token@proxy:3128/x", "http://xxxxx:xxxxx@proxy:3128/x"),
            ("u:p@proxy:3128", "xxxxx:xxxxx@proxy:3128"),
            ("HTTP_PROXY=u:p@proxy", "HTTP_PROXY=xxxxx:xxxxx@proxy"),
            (
                "`http://u:p@ss/w@proxy`, then http://v:q@other",
                "`http://xxxxx:xxxxx@proxy`, then http://xxxxx:xxxxx@other",
            ),
            (r#"["--http-proxy=http://u:p@h"]"#, r#"["--http-proxy=http://xxxxx:xxxxx@h"]"#),
            ("http://u:p@a,http://v:q@b", "http://xxxxx:xxxxx@a,http://xxxxx:xxxxx@b"),
            ("https://proxy:3128 git@host me@", "https://proxy:3128 git@host me@"),
            ("http://@h", "http://@h"),
        ] {
            assert_eq!(masked(text), wanted);
        }
    }

    #[test]
    fn values_of_secret_settings_are_hidden() {
        for (text, wanted) in [
            ("--log-opt splunk-token=abc --debug", "--log-opt splunk-token=xxxxx --debug"),
            ("DOCKERD_LOG_OPT=splunk-token=a,b", "DOCKERD_LOG_OPT=splunk-token=xxxxx"),
            (r#"{"auth": "YWJj", "mtu": 1}"#, r#"{"auth": "xxxxx", "mtu": 1}"#),
            (r#"{"auths":{"r":{"auth":"a\"b"}}}"#, r#"{"auths":{"r":{"auth":"xxxxx"}}}"#),
            (r#""{\"password\": \"a\\\"b\", \"x\": 1}""#, r#""{\"password\": \"xxxxx\", \"x\": 1}""#),
            (r#"{"pin-secret": 123}"#, r#"{"pin-secret": xxxxx}"#),
            (r#"{"token": "never closed"#, r#"{"token": "xxxxx"#),
            (
                "authorization-plugins=x the token: y, a secret",
                "authorization-plugins=x the token: y, a secret",
            ),
            (r#"{"token": {"a": 1}}"#, r#"{"token": {"a": 1}}"#),
        ] {
            assert_eq!(masked(text), wanted);
        }
    }

    #[test]
    fn a_word_is_hidden_to_its_end() {
        for (word, wanted) in [
            ("--log-opt=splunk-token=ab cd S3C", "--log-opt=splunk-token=xxxxx"),
            ("splunk-token=\"ab\" cd", "splunk-token=xxxxx"),
            ("splunk-token=[ab cd", "splunk-token=xxxxx"),
            ("--http-proxy=http://u:S3C RET@proxy:1", "--http-proxy=http://xxxxx:xxxxx@proxy:1"),
            ("http://u:a\"b`c@proxy", "http://xxxxx:xxxxx@proxy"),
            ("HTTP_PROXY=u:p=q r@proxy", "HTTP_PROXY=xxxxx:xxxxx@proxy"),
            ("--label=a=b c", "--label=a=b c"),
        ] {
            assert_eq!(masked_word(word), wanted);
            assert_eq!(masked(&masked_word(word)), wanted);
        }
        let file = r#"{"proxies": {"http-proxy": "http://u:S3C RET@p"}, "log-opts": {"env": "token=a b"}}"#;
        let wanted =
            r#"{"proxies": {"http-proxy": "http://xxxxx:xxxxx@p"}, "log-opts": {"env": "token=xxxxx"}}"#;
        assert_eq!(masked_file(file), wanted);
    }

    #[test]
    fn json_stays_json() {
        for (text, wanted) in [
            (
                r#"{"msg":"msg=\"cannot log in: token=abc\""}"#,
                r#"{"msg":"msg=\"cannot log in: token=xxxxx\""}"#,
            ),
            (r#"["x=\"token=abc\"", "http://u:p@h"]"#, r#"["x=\"token=xxxxx\"", "http://xxxxx:xxxxx@h"]"#),
            ("{\n  \"auth\": \"YWJj\",\n  \"mtu\": 1\n}", "{\n  \"auth\": \"xxxxx\",\n  \"mtu\": 1\n}"),
            (r#"{"pin-secret": -1.5e3, "b": [1, null]}"#, r#"{"pin-secret": "xxxxx", "b": [1, null]}"#),
            (r#"{"token": {"a": "b"}, "c": "\\"}"#, r#"{"token": {"a": "b"}, "c": "\\"}"#),
            (r#"{"content": "{\n \"password\": \"a\"}"}"#, r#"{"content": "{\n \"password\": \"xxxxx\"}"}"#),
        ] {
            assert_eq!(masked_json(text), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn masked_json_parses(key in "(token|auth|x)", text in r#"[a:@/="'\\ ,é{}\n]{0,12}(token=|://|\\")?[a:@/="\\ ,é{}]{0,12}"#, number: i32) {
            let json = serde_json::json!({ key: text.clone(), "list": [text, format!("level=x msg=\"token={number}\"")], "token": number });
            let shown = masked_json(&json.to_string());
            let back: serde_json::Value = serde_json::from_str(&shown).expect(&shown);
            proptest::prop_assert_eq!(&back["token"], "xxxxx");
            proptest::prop_assert_eq!(masked_json(&shown), shown);
        }

        #[test]
        fn never_panics_whatever_it_is(text in r#"[\\":{}, a-e0-9.-]{0,24}"#) {
            masked_json(&text);
        }

        #[test]
        fn never_panics_and_changes_nothing_twice(text in r#"[a:@/="\\ ,é{}\n]{0,24}(token|://)?[a:@/="\\ ,é{}]{0,24}"#) {
            let once = masked(&text);
            proptest::prop_assert_eq!(masked(&once), once);
        }

        #[test]
        fn a_planted_secret_never_gets_through(before in r#"[a-z:/="\\ ,]{0,12}"#, user in "[a-z]{1,4}", after in "[a-z/: ]{0,8}") {
            for word in [format!("{before}token=S3C {after} RET"), format!("{before}http://{user}:S3C {after} RET@p")] {
                let shown = masked_word(&word);
                proptest::prop_assert!(!shown.contains("S3C") && !shown.contains("RET"), "{}", shown);
            }
            let text = format!("{before} http://{user}:S3CRET@proxy{after} {{\"token\": \"S3CRET\"}} x-token=S3CRET");
            proptest::prop_assert!(!masked(&text).contains("S3CRET"), "{}", masked(&text));
        }
    }
}
