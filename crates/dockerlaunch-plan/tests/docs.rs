//! The documentation's tables are the code's. `cargo xtask docs` writes them anew.

#![allow(clippy::disallowed_methods, reason = "a test may read the documentation")]

use std::path::Path;

use dockerlaunch_plan::config::settings::SETTINGS;
use dockerlaunch_plan::config::variables::VARIABLES;

fn tables() -> [(&'static str, String); 2] {
    let variables: String =
        VARIABLES.iter().map(|v| format!("| `{}` | {} | {} |\n", v.name, v.form, v.means)).collect();
    let forms = |forms: &[&str]| forms.iter().map(|form| format!("`{form}`")).collect::<Vec<_>>().join(", ");
    let settings: String = SETTINGS
        .iter()
        .map(|s| format!("| `{}` | {} | {} | {} |\n", s.name, forms(s.forms), s.default, s.does))
        .collect();
    [
        ("variables", format!("| variable | value | does |\n|---|---|---|\n{variables}")),
        ("settings", format!("| variable | value | without it | does |\n|---|---|---|---|\n{settings}")),
    ]
}

#[test]
fn the_page_lists_every_variable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(&path).expect("docs/configuration.md");
    let mut wanted = page.clone();
    for (name, table) in tables() {
        let (first, second) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let (before, rest) = wanted.split_once(&first).expect("first mark");
        let (_, after) = rest.split_once(&second).expect("second mark");
        wanted = format!("{before}{first}{table}{second}{after}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("write");
    } else {
        assert!(page == wanted, "docs/configuration.md is out of date: run `cargo xtask docs`");
    }
}
