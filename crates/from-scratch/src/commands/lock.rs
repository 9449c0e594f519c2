//! `from-scratch lock`: writes down which packages an image is made of.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use dockerlaunch_image::{BuildError, DocumentError, LOCK_FILE, Lock};

use crate::commands::build::SourceArgs;
use crate::progress::BuildProgress;
use crate::report::Hinted;

/// Options of `lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Where to write it
    #[arg(short, long, value_name = "FILE", default_value = LOCK_FILE)]
    output: PathBuf,
    /// Renew a lockfile that is there, and print what changes
    #[arg(long)]
    update: bool,
}

pub(crate) fn run(args: &LockArgs) -> anyhow::Result<ExitCode> {
    if args.source.is_locked() {
        return Err(Hinted::new("`lock` takes the newest packages, and `--locked` forbids it")
            .hint("leave out `--locked`")
            .into());
    }
    let former = former(&args.output, args.update)?;
    check_place(&args.output)?;
    let progress = BuildProgress::new()?;
    let mut images = Vec::new();
    for request in args.source.requests()? {
        match dockerlaunch_image::contents(&request, &progress) {
            Err(error @ BuildError::Cancelled) => {
                eprintln!("{error}");
                return Ok(ExitCode::from(progress.exit_status()));
            }
            result => images.push(result?),
        }
    }
    let lock = Lock::of(&images).context("no image to lock")?;
    write(&args.output, &lock)?;
    match former {
        Some(former) => {
            let changes = former.changes(&lock);
            if changes.is_empty() {
                eprintln!("nothing has changed");
            }
            changes.iter().for_each(|change| println!("{change}"));
        }
        None => {
            let packages: usize = images.iter().map(|image| image.opened.len()).sum();
            eprintln!("{packages} packages in `{}`", args.output.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The lockfile that is to be renewed. Without `--update` nobody's is.
fn former(path: &Path, update: bool) -> anyhow::Result<Option<Lock>> {
    match (path.symlink_metadata().is_ok(), update) {
        (false, false) => Ok(None),
        // Nobody needs what cannot be read: it is written anew whole.
        (true, true) => Lock::read(path).map(Some).or_else(|error| match error {
            DocumentError::Invalid { .. } => {
                eprintln!("warning: {error}\nwarning: it is written anew");
                Ok(None)
            }
            error => Err(error.into()),
        }),
        (true, false) => Err(Hinted::new(format!("`{}` is there already", path.display()))
            .hint("renew it with `--update`, or write another one with `-o FILE`")
            .into()),
        (false, true) => Err(Hinted::new(format!("there is no `{}` to update", path.display()))
            .hint("leave out `--update` to make one")
            .into()),
    }
}

/// Whether a file can be written there, before any work is done for it.
pub(super) fn check_place(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() {
        return Ok(());
    }
    Err(Hinted::new(format!(
        "cannot write `{}`: there is no directory `{}`",
        path.display(),
        parent.display()
    ))
    .hint(format!("make it: `mkdir -p {}`", parent.display()))
    .into())
}

fn write(path: &Path, lock: &Lock) -> anyhow::Result<()> {
    lock.write(path).map_err(|error| {
        let refused = Hinted::new(format!("cannot write `{}`", path.display())).because(error);
        refused.hint("choose a place that you can write to, with `-o FILE`").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;

    #[test]
    fn a_lockfile_that_cannot_be_read_is_no_trap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.lock");
        assert!(former(&path, true).is_err() && former(&path, false).unwrap().is_none());
        std::fs::write(&path, "<<<<<<< HEAD").unwrap();
        assert!(former(&path, true).unwrap().is_none());
        assert!(former(&path, false).is_err());
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_with_a_remedy() {
        assert!(check_place(Path::new("image.lock")).is_ok());
        let told = report::render(&check_place(Path::new("/nowhere/image.lock")).unwrap_err());
        assert!(told.contains("mkdir -p /nowhere"), "{told}");
    }
}
