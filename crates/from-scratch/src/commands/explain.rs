//! `from-scratch explain`: what an image holds, where it comes from and why.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dockerlaunch_image::{BuildError, Contents, Hints as _, explain, write_whole};

use super::build::SourceArgs;
use super::lock::check_place;
use crate::progress::BuildProgress;
use crate::report::Hinted;

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A file, library or component of the image: all that is known of it
    #[arg(value_name = "FILE|COMPONENT")]
    subject: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// Draw the image as a picture too
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let progress = BuildProgress::new()?;
    if let Some(path) = &args.svg {
        check_place(path)?;
    }
    let contents = match dockerlaunch_image::contents(&args.source.request()?, &progress) {
        Err(error @ BuildError::Cancelled) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(progress.exit_status()));
        }
        result => result?,
    };
    let text = told(&contents, args.subject.as_deref(), args.json)?;
    if let Some(path) = &args.svg {
        draw(&contents, path)?;
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn told(contents: &Contents, subject: Option<&str>, json: bool) -> anyhow::Result<String> {
    let Some(subject) = subject else {
        return Ok(if json {
            serde_json::to_string_pretty(&explain::Overview::of(contents))? + "\n"
        } else {
            explain::overview(contents)
        });
    };
    let depth = explain::depth(contents, subject)
        .map_err(|error| error.hints().into_iter().fold(Hinted::new(error.to_string()), Hinted::hint))?;
    Ok(if json { serde_json::to_string_pretty(&depth)? + "\n" } else { depth.to_string() })
}

fn draw(contents: &Contents, path: &Path) -> anyhow::Result<()> {
    write_whole(path, &explain::treemap(contents)).map_err(|error| {
        Hinted::new(format!("cannot write `{}`", path.display()))
            .because(error)
            .hint("name a file where you can write and where there is room")
            .into()
    })
}
