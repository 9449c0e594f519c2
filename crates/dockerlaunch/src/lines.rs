//! How a machine whose init we are talks to whoever has started it: serial lines that the kernel command line names.
//!
//! `dockerlaunch.stdout=/dev/ttyS1` gets what a job writes to its standard output, byte by byte; `dockerlaunch.status=/dev/ttyS2`
//! the exit status, as a line, before the machine powers off. All else is on the console.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dockerlaunch_plan::facts::kernel;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat};
use rustix::stdio::{dup2_stdin, dup2_stdout};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use crate::say::say;

/// How long the end of a job's output may take, when all that could write any has ended.
const REST: Duration = Duration::from_secs(10);

/// What passes a job's output on.
static PASSING: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

/// A parameter of ours on the kernel command line.
pub(crate) fn parameter(name: &str) -> Option<String> {
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let value = |word: String| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    kernel::parse_parameters(&cmdline).into_iter().find_map(value)
}

/// As the kernel's init: Ctrl-Alt-Del becomes SIGINT to us (reboot(2), `LINUX_REBOOT_CMD_CAD_OFF`), so that all is stopped in order.
pub(crate) fn keep_ctrl_alt_del() {
    if let Err(error) = reboot(RebootCommand::CadOff) {
        say!(Debug, "Ctrl-Alt-Del stays the kernel's: {error}");
    }
}

/// Standard output goes where it was asked to go, and there is nobody to type anything. By a pipe: programs must not take the line
/// for somebody's terminal.
pub(crate) fn connect() {
    let Some(device) = parameter("stdout") else { return };
    let connected = open(&device).and_then(|mut line| {
        let (mut reader, writer) = io::pipe()?;
        let pass_on = move || {
            let _ = io::copy(&mut reader, &mut line);
            let _ = tcdrain(&line);
        };
        let passing = std::thread::Builder::new().name("job's output".into()).stack_size(64 * 1024);
        let passing = passing.spawn(pass_on)?;
        PASSING.lock().map_err(|_| ErrorKind::Other)?.replace(passing);
        dup2_stdout(&writer)?;
        Ok(dup2_stdin(File::open("/dev/null")?)?)
    });
    if let Err(error) = connected {
        say!(Warn, "standard output stays on the console: {device}: {error}");
    }
}

/// The last word, when all processes have ended.
pub(crate) fn tell_status(status: u8) {
    finish();
    let Some(device) = parameter("status") else { return };
    let told = open(&device).and_then(|mut line| {
        line.write_all(format!("{status}\n").as_bytes())?;
        // What is in a line's buffer when the power goes is lost.
        Ok(tcdrain(&line)?)
    });
    if let Err(error) = told {
        say!(Warn, "the status {status} cannot be told: {device}: {error}");
    }
}

/// Closes our end of the pipe, and lets the rest pass.
fn finish() {
    let Some(passing) = PASSING.lock().ok().and_then(|mut passing| passing.take()) else { return };
    if let Ok(nothing) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = dup2_stdout(&nothing);
    }
    let start = Instant::now();
    while !passing.is_finished() && start.elapsed() < REST {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A terminal that passes every byte as it is; anything else is so anyway.
fn open(device: &str) -> io::Result<File> {
    let path = Path::new(device);
    let line = match open_file(path) {
        // A launch that ends before there is a /dev has a status too.
        Err(error) if error.kind() == ErrorKind::NotFound => open_by_number(path).map_err(|_| error)?,
        line => line?,
    };
    if let Ok(mut modes) = tcgetattr(&line) {
        modes.make_raw();
        tcsetattr(&line, OptionalActions::Now, &modes)?;
    }
    Ok(line)
}

fn open_file(path: &Path) -> io::Result<File> {
    let not_ours = OFlags::NOCTTY.bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(not_ours).open(path)
}

/// By a node that is there for a moment (kernel Documentation/ABI/testing/sysfs-class, `dev`).
fn open_by_number(path: &Path) -> io::Result<File> {
    const NODE: &str = "/.dockerlaunch-line";
    let name = path.file_name().ok_or(ErrorKind::NotFound)?;
    let text = std::fs::read_to_string(Path::new("/sys/class/tty").join(name).join("dev"))?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| ErrorKind::InvalidData);
    let (major, minor) = text.trim().split_once(':').ok_or(ErrorKind::InvalidData)?;
    let device = makedev(number(major)?, number(minor)?);
    mknodat(CWD, NODE, FileType::CharacterDevice, Mode::from_raw_mode(0o600), device)?;
    let line = open_file(Path::new(NODE));
    std::fs::remove_file(NODE)?;
    line
}
