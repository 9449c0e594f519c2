//! Runs programs in the emulated machine for scenarios outside it: a connection each, a header and bytes in both directions.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::command::{self, Outcome};
use crate::interrupt;
use crate::up::on_a_terminal;

/// The hidden word of the command line.
pub const WORD: &str = "__agent";

/// Where it listens in the machine.
pub const PORT: u16 = 2222;

/// Ends the agent, and with it the machine, instead of running a program.
const END: &str = "__end";

/// A program to run, before its standard input.
#[derive(Serialize, Deserialize)]
struct Request {
    argv: Vec<String>,
    terminal: bool,
    /// Bytes of input.
    input: usize,
    patience: u32,
}

/// How it ended, before what it wrote.
#[derive(Serialize, Deserialize)]
struct Answer {
    status: i32,
    stdout: usize,
    stderr: usize,
    /// The harness itself failed.
    error: Option<String>,
}

/// Serves until it is told to end.
pub fn serve() -> Result<ExitCode> {
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    for stream in listener.incoming() {
        let mut reader = BufReader::new(stream?);
        let request = match receive(&mut reader) {
            Ok(request) => request,
            // Somebody who only looked whether we listen.
            Err(_) => continue,
        };
        if request.argv == [END] {
            return Ok(ExitCode::SUCCESS);
        }
        thread::spawn(move || {
            if let Err(error) = answer(request, reader) {
                eprintln!("agent: {error:#}");
            }
        });
    }
    Ok(ExitCode::FAILURE)
}

fn receive(reader: &mut impl BufRead) -> Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("a request: {line}"))
}

fn answer(request: Request, mut reader: BufReader<TcpStream>) -> Result<()> {
    let mut input = vec![0; request.input];
    reader.read_exact(&mut input)?;
    command::be_patient(request.patience);
    let (answer, stdout, stderr) = match perform(&request, &input) {
        Ok(outcome) => (outcome.status, outcome.stdout, outcome.stderr),
        Err(error) => {
            let answer = Answer { status: 0, stdout: 0, stderr: 0, error: Some(format!("{error:#}")) };
            return send(reader.into_inner(), &answer, &[]);
        }
    };
    let answer = Answer { status: answer, stdout: stdout.len(), stderr: stderr.len(), error: None };
    send(reader.into_inner(), &answer, &[&stdout, stderr.as_bytes()])
}

fn send(mut stream: TcpStream, header: &impl Serialize, bodies: &[&[u8]]) -> Result<()> {
    stream.write_all((serde_json::to_string(header)? + "\n").as_bytes())?;
    bodies.iter().try_for_each(|body| stream.write_all(body))?;
    Ok(stream.flush()?)
}

fn perform(request: &Request, input: &[u8]) -> Result<Outcome> {
    let (program, args) = request.argv.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(args);
    if request.terminal {
        return on_a_terminal(&command);
    }
    let shown = command::show(&command);
    match command::run(&mut command, input) {
        // As `docker exec` and `from-scratch exec` end then.
        Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::NotFound) => Ok(Outcome {
                command: shown,
                status: 127,
                stdout: Vec::new(),
                stderr: format!("{error:#}\n"),
                took: Duration::ZERO,
            }),
            _ => Err(error),
        },
        ok => ok,
    }
}

/// Has the agent behind this port of loopback run a program.
pub fn ask(port: u16, argv: &[&str], input: &[u8], terminal: bool) -> Result<Outcome> {
    // The agent ends what takes too long, and says so; this is for an agent that hangs itself.
    let within = (command::DEADLINE + Duration::from_secs(60)) * command::patience();
    ask_within(within, port, argv, input, terminal)
}

fn ask_within(within: Duration, port: u16, argv: &[&str], input: &[u8], terminal: bool) -> Result<Outcome> {
    let start = Instant::now();
    let shown = argv.join(" ");
    let patience = command::patience();
    let request = Request {
        argv: argv.iter().map(ToString::to_string).collect(),
        terminal,
        input: input.len(),
        patience,
    };
    let deadline = start + within;
    let mut reader = connect(port, &request, input).with_context(|| format!("`{shown}` in the machine"))?;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        read_some(&mut reader, &mut line, 1, deadline).with_context(|| format!("`{shown}`"))?;
    }
    let answer: Answer = serde_json::from_slice(&line)?;
    if let Some(error) = answer.error {
        bail!("in the machine: {error}");
    }
    let mut bytes = [Vec::new(), Vec::new()];
    for (bytes, length) in bytes.iter_mut().zip([answer.stdout, answer.stderr]) {
        while bytes.len() < length {
            let missing = length - bytes.len();
            read_some(&mut reader, bytes, missing, deadline).with_context(|| format!("`{shown}`"))?;
        }
    }
    let [stdout, stderr] = bytes;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Outcome { command: shown, status: answer.status, stdout, stderr, took: start.elapsed() / patience })
}

fn connect(port: u16, request: &Request, input: &[u8]) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    // A machine that takes nothing for so long hangs.
    stream.set_write_timeout(Some(command::DEADLINE * command::patience()))?;
    send(stream.try_clone()?, request, &[input])?;
    Ok(BufReader::new(stream))
}

/// Reads at most so many bytes more; looks up from time to time.
fn read_some(
    reader: &mut BufReader<TcpStream>,
    into: &mut Vec<u8>,
    most: usize,
    deadline: Instant,
) -> Result<()> {
    let mut buffer = vec![0; most.min(1 << 16)];
    loop {
        interrupt::check()?;
        match reader.read(&mut buffer) {
            Ok(0) => bail!("the machine closed the connection"),
            Ok(count) => {
                into.extend(&buffer[..count]);
                return Ok(());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            bail!("no answer from the machine in time");
        }
    }
}

/// Whether it serves: qemu itself accepts connections before anybody in the machine does.
pub fn is_there(port: u16) -> bool {
    const PATIENCE: Duration = Duration::from_secs(5);
    ask_within(PATIENCE, port, &["/itest/busybox", "true"], b"", false)
        .is_ok_and(|outcome| outcome.status == 0)
}

/// Ends it. Nobody answers.
pub fn end(port: u16) -> Result<()> {
    let request = Request { argv: vec![END.to_owned()], terminal: false, input: 0, patience: 1 };
    connect(port, &request, b"").map(drop)
}
