//! `docs/requirements.md`, made of what was recorded.

use super::Verdict;
use super::book::{Recorded, Row};

/// Why classes of files are exempt.
const CLASSES: &[(&str, &str)] = &[
    ("link", "another name of a file that is proved"),
    (
        "licence",
        "the terms under which a package's files may be passed on: the law needs it, no program does",
    ),
    ("metadata", "what the image says about itself: nothing fails without it"),
];

pub(super) fn page(run: &Recorded) -> String {
    let mut rows: Vec<&Row> = run.files.iter().collect();
    rows.sort_by_key(|row| (&row.component, &row.path));
    let runs = run.runs();
    // They begin with the day.
    let last = runs.keys().next_back().copied();
    let table: String = rows.iter().map(|row| line(row, last)).collect();
    let parts: Vec<String> =
        runs.iter().rev().map(|(run, count)| format!("{count} files on {run}")).collect();
    let untouched: String = rows
        .iter()
        .filter(|row| !row.opened && !row.link)
        .map(|row| {
            format!("- `{}`: {}\n", short(&row.path), row.untouched.as_deref().unwrap_or("**unexplained**"))
        })
        .collect();
    let untouched = if untouched.is_empty() { "None.\n".to_owned() } else { untouched };
    let mut exempt = String::new();
    for (class, why) in CLASSES {
        let Some(paths) = run.exempt.get(*class) else { continue };
        let names: Vec<String> = paths.iter().map(|path| format!("`{}`", short(path))).collect();
        exempt += &format!("- **{class}** ({}): {why}.\n  {}\n", paths.len(), names.join(", "));
    }
    format!(
        "# What Docker requires, proved\n\n\
         Each file of the image was taken away alone, and the scenario that its entry in `image/components/` names was run: it must \
         fail, and show the symptom that stands there; with all files it must pass. A library is proved by a program that cannot do \
         without it. Nothing else is needed: what lies in the image that [all scenarios](scenarios.md) pass with are these files, those \
         that are exempt, and no others. Nothing lies there unused: the kernel (fanotify) told which files scenarios open or execute. \
         Of links it tells only what they lead to; that they are followed shows in what fails without them.\n\n\
         `cargo xtask prove --record` does all of it and writes this page; with names of files or components after it, only their \
         rows change. `cargo xtask docs` writes it anew from the results, [requirements.json](requirements.json). Where no path is \
         given in full, it is below `/usr/lib/dockerlaunch/`.\n\n\
         Proved: {}. {}. Exempt are {:.1} % of the files.\n\n\
         | file | package | component | proof | symptom | result |\n|---|---|---|---|---|---|\n{table}\n\
         ## Touched by no scenario\n\n{untouched}\n\
         ## Exempt\n\n{exempt}",
        parts.join(", "),
        run.summary(),
        run.exempt_share(),
    )
}

fn line(row: &Row, last: Option<&str>) -> String {
    let through =
        row.through.as_deref().map(|path| format!(" through `{}`", short(path))).unwrap_or_default();
    let result = match row.verdict {
        Verdict::Proved => "proved",
        Verdict::PassesWithout => "**passes without it**",
        Verdict::FailsOtherwise => "**fails otherwise**",
        Verdict::FailsWith => "**fails with it**",
        Verdict::NoProof => "**no proof**",
    };
    // What a later run was not asked for.
    let when = if last == Some(&row.run) { String::new() } else { format!(" on {}", row.run) };
    format!(
        "| `{}` | {} | {} | `{}`{through} | {} | {result}{when} |\n",
        short(&row.path),
        if row.package.is_empty() { "ours" } else { &row.package },
        row.component,
        row.proof,
        row.symptom.replace('|', "\\|")
    )
}

fn short(path: &str) -> String {
    path.strip_prefix("usr/lib/dockerlaunch/").map_or_else(|| format!("/{path}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::book::document;
    use super::*;

    #[test]
    fn the_page_is_what_was_recorded() {
        let wanted = page(&Recorded::read().expect("docs/requirements.json"));
        let path = document("requirements.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, wanted).expect("write");
        } else {
            let page = fs::read_to_string(&path).expect("docs/requirements.md");
            assert!(page == wanted, "docs/requirements.md is out of date: run `cargo xtask docs`");
        }
    }

    #[test]
    fn every_file_is_proved_and_few_are_exempt() {
        let run = Recorded::read().expect("docs/requirements.json");
        let bad: Vec<&Row> = run.files.iter().filter(|row| !row.is_good()).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert!(run.files.len() > 60, "{} files only", run.files.len());
        assert!(run.exempt_share() <= 10.0, "{} % are exempt", run.exempt_share());
        assert!(run.exempt.keys().all(|class| CLASSES.iter().any(|(known, _)| known == class)));
    }

    #[test]
    fn a_row_shows_how_it_ended() {
        let row = |verdict, opened, date: &str| Row {
            path: "usr/lib/dockerlaunch/lib/liba.so".to_owned(),
            component: "libraries".to_owned(),
            with: String::new(),
            package: "a 1".to_owned(),
            through: Some("usr/lib/dockerlaunch/bin/tool".to_owned()),
            proof: "area::what".to_owned(),
            symptom: "a | b".to_owned(),
            verdict,
            opened,
            link: false,
            untouched: None,
            run: format!("{date} with Docker 28 and kernel 6.1"),
        };
        let link = Row { link: true, ..row(Verdict::Proved, false, "2026-11-26") };
        let run = Recorded {
            files: vec![
                row(Verdict::Proved, true, "2026-11-26"),
                row(Verdict::PassesWithout, false, "2026-11-25"),
                link,
            ],
            ..Recorded::default()
        };
        let page = page(&run);
        let start = "| `lib/liba.so` | a 1 | libraries | `area::what` through `bin/tool` | a \\| b |";
        let old = "**passes without it** on 2026-11-25 with Docker 28 and kernel 6.1";
        assert!(page.contains(&format!("{start} proved |\n{start} {old} |\n{start} proved |\n")), "{page}");
        assert_eq!(page.matches("- `lib/liba.so`: **unexplained**").count(), 1, "{page}");
        assert!(page.contains("3 files: 2 proved necessary, 1 not needed"), "{page}");
        assert!(page.contains("1 opened or executed by scenarios, 1 links, which"), "{page}");
        let runs = "Proved: 2 files on 2026-11-26 with Docker 28 and kernel 6.1, 1 files on 2026-11-25 with";
        assert!(page.contains(runs), "{page}");
    }
}
