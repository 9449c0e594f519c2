//! `from-scratch ps`: the instances, as the kernel knows them.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::StateArgs;
use crate::sandbox::state::{Record, Status};

/// Options of `ps`.
#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Print JSON: one list, one object an instance
    #[arg(long)]
    json: bool,
}

/// What a program may read.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    status: Status,
    pid: Option<i32>,
    uptime_seconds: Option<u64>,
    socket: String,
    network: String,
    ports: &'a [String],
    image: &'a str,
    cgroups: Vec<String>,
    created: u64,
}

const HEADER: [&str; 8] = ["NAME", "STATUS", "PID", "UPTIME", "SOCKET", "NETWORK", "PORTS", "IMAGE"];

pub(crate) fn run(args: &PsArgs) -> anyhow::Result<ExitCode> {
    let records = args.state.dir()?.records()?;
    let rows: Vec<Row<'_>> = records.iter().map(row).collect();
    let text = if args.json { serde_json::to_string_pretty(&rows)? + "\n" } else { table(&rows) };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn row(record: &Record) -> Row<'_> {
    let status = record.status();
    let process = record.process.as_ref().filter(|_| status != Status::Dead);
    Row {
        name: record.name.as_str(),
        status,
        pid: process.map(|process| process.pid),
        uptime_seconds: process.and_then(|process| process.uptime()).map(|uptime| uptime.as_secs()),
        socket: record.socket.display().to_string(),
        network: record.network.to_string(),
        ports: &record.ports,
        image: &record.image,
        cgroups: record.cgroups.iter().map(|path| path.display().to_string()).collect(),
        created: record.created,
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let mut cells: Vec<[String; 8]> = vec![HEADER.map(str::to_owned)];
    for row in rows {
        cells.push([
            row.name.to_owned(),
            row.status.to_string(),
            row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            row.uptime_seconds.map_or_else(|| "-".to_owned(), uptime),
            row.socket.clone(),
            row.network.clone(),
            if row.ports.is_empty() { "-".to_owned() } else { row.ports.join(",") },
            row.image.to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The two largest units, as a person would say it.
fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let row = |name, status, pid| Row {
            name,
            status,
            pid,
            uptime_seconds: pid.map(|_| 3725),
            socket: "/s/docker.sock".into(),
            network: "none".into(),
            ports: &[],
            image: "i",
            cgroups: Vec::new(),
            created: 0,
        };
        let rows = [row("default", Status::Running, Some(42)), row("b", Status::Dead, None)];
        assert_eq!(
            table(&rows),
            "NAME     STATUS   PID  UPTIME  SOCKET          NETWORK  PORTS  IMAGE\n\
             default  running  42   1h02m   /s/docker.sock  none     -      i\n\
             b        dead     -    -       /s/docker.sock  none     -      i\n"
        );
    }

    #[test]
    fn uptimes() {
        assert_eq!([5, 65, 3600, 90000].map(uptime), ["5s", "1m05s", "1h00m", "1d01h"]);
    }
}
