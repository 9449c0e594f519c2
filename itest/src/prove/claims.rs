//! What is recorded is what the data claims, file by file: else the page would go on saying what was true once.

use std::collections::{BTreeMap, BTreeSet};

use dockerlaunch_image::spec::{Component, Reason, Spec};
use dockerlaunch_image::{Class, Entry, Origin, PRIVATE_DIR, Source};

use super::Requirement;
use super::book::{Recorded, Row};
use super::choice::others;
use super::inventory::{exempt_class, requirement};

/// What a component names, as an image has it.
fn entries(component: &Component) -> Vec<Entry> {
    let private = |to: &str| format!("{PRIVATE_DIR}/{to}");
    let mut entries = Vec::new();
    let mut add = |class, path: String, reason: &Reason| {
        let origin = Origin {
            component: component.name.clone(),
            source: Source::Component,
            reason: Some(reason.clone()),
            needed_by: Vec::new(),
        };
        let entry = Entry { path, class, mode: 0, size: 0, digest: None, target: None, origin: Some(origin) };
        entries.push(entry);
    };
    for file in &component.launchers {
        add(Class::File, private(&file.to), &file.reason);
        file.public.iter().for_each(|name| add(Class::Link, format!("usr/bin/{name}"), &file.reason));
    }
    for file in &component.files {
        assert!(
            !file.to.ends_with('/'),
            "{}: only the package knows what is in `{}`",
            component.name,
            file.to
        );
        add(Class::File, private(&file.to), &file.reason);
        let name = file.to.rsplit('/').next().unwrap_or_default();
        let plugin = file.cli_plugin.then(|| format!("usr/libexec/docker/cli-plugins/{name}"));
        let public = public_names(&file.public, file.local).chain(plugin);
        public.for_each(|path| add(Class::Link, path, &file.reason));
    }
    for link in &component.links {
        add(Class::Link, private(&link.to), &link.reason);
        public_names(&link.public, link.local).for_each(|path| add(Class::Link, path, &link.reason));
    }
    for set in &component.link_sets {
        let paths = set.names.iter().map(|name| private(&format!("{}/{name}", set.directory)));
        paths.for_each(|path| add(Class::Link, path, &set.reason));
    }
    for text in &component.texts {
        add(Class::File, private(&text.to), &text.reason);
    }
    for list in &component.flag_lists {
        add(Class::Metadata, private(&list.to), &list.reason);
    }
    entries
}

fn public_names(names: &[String], local: bool) -> impl Iterator<Item = String> {
    let directories = ["usr/bin", "usr/local/bin"].into_iter().take(if local { 2 } else { 1 });
    directories.flat_map(move |directory| names.iter().map(move |name| format!("{directory}/{name}")))
}

/// All that components name, by path: what must be proved of it, or the class that need not.
fn claims() -> BTreeMap<String, Result<Requirement, &'static str>> {
    let spec = Spec::embedded().expect("image/");
    let in_images = spec.components.iter().filter(|component| !component.host);
    let claim = |entry: Entry| match exempt_class(&entry) {
        None => {
            (entry.path.clone(), Ok(requirement(&entry, &BTreeMap::from([(entry.path.as_str(), &entry)]))))
        }
        Some(class) => (entry.path, Err(class)),
    };
    in_images.flat_map(entries).map(claim).collect()
}

/// Where record and data differ, in words.
fn differences(recorded: &Recorded) -> Vec<String> {
    let claims = claims();
    let mut rows: BTreeMap<&str, &Row> = recorded.files.iter().map(|row| (row.path.as_str(), row)).collect();
    let others: BTreeSet<String> = others().expect("image/").into_iter().collect();
    let mut wrong = Vec::new();
    for (path, claim) in &claims {
        let claim = match claim {
            Ok(claim) => claim,
            Err(class) if recorded.exempt.get(*class).is_some_and(|paths| paths.contains(path)) => continue,
            Err(class) => {
                wrong.push(format!("`{path}` is not among the exempt ({class})"));
                continue;
            }
        };
        let Some(row) = rows.remove(path.as_str()) else {
            wrong.push(format!("`{path}` was not proved"));
            continue;
        };
        let with = others.get(&claim.component).cloned().unwrap_or_default();
        let symptom = claim.symptom.clone().unwrap_or_default();
        let claimed = [claim.component.clone(), with, claim.proof(), symptom];
        let proved = [&row.component, &row.with, &row.proof, &row.symptom].map(String::clone);
        if claimed != proved || claim.untouched != row.untouched {
            wrong.push(format!("`{path}`: {claimed:?} is claimed, {proved:?} was proved"));
        }
    }
    // What is left are libraries, which come with what needs them.
    for row in rows.values() {
        let program = row.through.as_ref().and_then(|through| claims.get(through)?.as_ref().ok());
        if program.is_none_or(|program| program.proof() != row.proof) {
            wrong.push(format!("`{}` was proved, and no component has it", row.path));
        }
    }
    wrong
}

const ADVICE: &str = "`cargo xtask prove --record PART OF A PATH…` proves it";

#[test]
fn what_is_recorded_is_what_the_data_claims() {
    let wrong = differences(&Recorded::read().expect("docs/requirements.json"));
    assert!(wrong.is_empty(), "{ADVICE}: {wrong:#?}");
}

#[test]
fn what_was_not_proved_as_it_stands_is_found_out() {
    let recorded = Recorded::read().expect("docs/requirements.json");
    let after = |change: &dyn Fn(&mut Recorded)| {
        let mut changed = recorded.clone();
        change(&mut changed);
        let wrong = differences(&changed);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        wrong.concat()
    };
    let row = |recorded: &mut Recorded, name: &str, change: &dyn Fn(&mut Row)| {
        let found = recorded.files.iter_mut().find(|row| row.path.ends_with(name));
        change(found.expect(name));
    };
    let told = after(&|recorded| recorded.files.retain(|row| !row.path.ends_with("/bin/ps")));
    assert!(told.contains("bin/ps` was not proved"), "{told}");
    let told = after(&|recorded| row(recorded, "/libxt_tcp.so", &|row| row.symptom += "?"));
    assert!(told.contains("libxt_tcp.so`: [") && told.contains("`tcp'?"), "{told}");
    let told = after(&|recorded| row(recorded, "/bin/nft", &|row| row.proof = "engine::version".to_owned()));
    assert!(told.contains("\"optional::nft\", ") && told.contains("\"engine::version\", "), "{told}");
    let told = after(&|recorded| row(recorded, "/bin/nft", &|row| row.with.clear()));
    assert!(told.contains("bin/nft`"), "{told}");
    let told =
        after(&|recorded| row(recorded, "/libz.so.1", &|row| row.through = Some("bin/gone".to_owned())));
    assert!(told.contains("libz.so.1` was proved, and no component has it"), "{told}");
    let gone = Row { path: "usr/lib/dockerlaunch/bin/gone".to_owned(), ..recorded.files[0].clone() };
    let told = after(&|recorded| recorded.files.push(gone.clone()));
    assert!(told.contains("bin/gone` was proved, and no component has it"), "{told}");
    let told = after(&|recorded| recorded.exempt.clear());
    assert!(told.contains("dockerd.flags` is not among the exempt"), "{told}");
}
