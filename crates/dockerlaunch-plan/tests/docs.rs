//! The documentation's table of variables is the code's. `cargo xtask docs` writes it anew.

#![allow(clippy::disallowed_methods, reason = "a test may read the documentation")]

use std::path::Path;

use dockerlaunch_plan::config::variables::VARIABLES;

const MARKS: (&str, &str) = ("<!-- variables -->\n", "<!-- /variables -->");

#[test]
fn the_page_lists_every_variable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(&path).expect("docs/configuration.md");
    let (before, rest) = page.split_once(MARKS.0).expect("first mark");
    let (_, after) = rest.split_once(MARKS.1).expect("second mark");
    let rows: String =
        VARIABLES.iter().map(|v| format!("| `{}` | {} | {} |\n", v.name, v.form, v.means)).collect();
    let table = format!("| variable | value | does |\n|---|---|---|\n{rows}");
    let wanted = format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("write");
    } else {
        assert!(page == wanted, "docs/configuration.md is out of date: run `cargo xtask docs`");
    }
}
