//! What the machine is made of, as qemu's command line; and what the kernel's says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::publish::{Network, Port};
use crate::report::Hinted;

/// The program, of the package `qemu-system-x86`.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// Who executes the machine's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// The processor, by /dev/kvm
    Kvm,
    /// qemu itself: slow, and works everywhere
    Tcg,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// The kernel's command line.
    pub(crate) append: String,
    /// Bytes.
    pub(crate) memory: u64,
    /// Processors, if somebody has said how many.
    pub(crate) cpus: Option<u32>,
    pub(crate) disk: Option<PathBuf>,
    pub(crate) network: Network,
    pub(crate) ports: Vec<Port>,
    /// Where the files lie by which it talks to us.
    pub(crate) lines: PathBuf,
}

/// Its three serial lines, and what qemu listens to, by their names in [`Machine::lines`].
pub(crate) const CONSOLE: &str = "console";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const STATUS: &str = "status";
pub(crate) const MONITOR: &str = "monitor";

impl Machine {
    /// qemu's arguments (qemu(1)).
    pub(crate) fn args(&self, accel: Accel) -> Result<Vec<OsString>, Hinted> {
        let (accel, cpu, cpus) = match accel {
            Accel::Kvm => ("kvm", "host", 2),
            // Emulated, five levels of page tables cost a kernel seconds; and two processors have waited for each other for ever.
            Accel::Tcg => ("tcg,thread=multi", "max,la57=off", 1),
        };
        let mut args: Vec<OsString> = ["-nodefaults", "-no-user-config", "-no-reboot"].map(Into::into).into();
        let mut add = |option: &str, value: OsString| args.extend([option.into(), value]);
        add("-display", "none".into());
        add("-machine", "q35".into());
        add("-accel", accel.into());
        add("-cpu", cpu.into());
        add("-smp", self.cpus.unwrap_or(cpus).to_string().into());
        add("-m", format!("{}M", self.memory >> 20).into());
        add("-kernel", self.kernel.clone().into());
        add("-initrd", self.initramfs.clone().into());
        add("-append", self.append.clone().into());
        for line in [CONSOLE, OUTPUT, STATUS] {
            add("-chardev", with_path(&format!("file,id={line},path="), &self.lines.join(line)));
            add("-serial", format!("chardev:{line}").into());
        }
        let monitor = with_path("socket,id=monitor,server=on,wait=off,path=", &self.lines.join(MONITOR));
        add("-chardev", monitor);
        add("-mon", "chardev=monitor".into());
        add("-device", "virtio-rng-pci".into());
        if let Some(disk) = &self.disk {
            // By default a full disk of the host would stop the machine without a word.
            add("-drive", with_path("format=raw,if=virtio,discard=unmap,werror=report,file=", disk));
        }
        let nic = match self.network {
            Network::None => "none".to_owned(),
            Network::User => {
                let mut nic = vec!["user,model=virtio-net-pci".to_owned()];
                for port in &self.ports {
                    nic.push(port.forward().ok_or_else(|| {
                        Hinted::new(format!("`--publish {port}`: qemu leads in no port of an IPv6 address"))
                            .hint("name an IPv4 address, such as 127.0.0.1")
                    })?);
                }
                nic.join(",")
            }
        };
        add("-nic", nic.into());
        Ok(args)
    }
}

/// An option's value that ends with a path; a comma in it is written twice.
fn with_path(start: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut value = start.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        value.extend(std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(value)
}

/// The user network has these addresses (qemu(1), `-netdev user`).
const ADDRESS: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off:10.0.2.3";

/// The kernel's command line has no room for more (kernel arch/x86/include/asm/setup.h, `COMMAND_LINE_SIZE`).
const ROOM: usize = 2047;

/// The kernel gives its init no more variables and arguments than 32 each, of which some are its own or ours, and panics at more
/// (kernel init/main.c, `CONFIG_INIT_ENV_ARG_LIMIT`).
const MOST: usize = 24;

/// What the kernel and its init are told.
pub(crate) fn append(
    network: Network,
    has_disk: bool,
    env: &[(String, String)],
    args: &[OsString],
    job: &[OsString],
) -> Result<String, Hinted> {
    let mut words: Vec<String> = [
        "console=ttyS0",
        "panic=-1",
        "loglevel=4",
        "hostname=from-scratch",
        "dockerlaunch.status=/dev/ttyS2",
    ]
    .map(Into::into)
    .into();
    words.extend((network == Network::User).then(|| ADDRESS.to_owned()));
    words.extend(has_disk.then(|| "DOCKERLAUNCH_STORAGE=/dev/vda".to_owned()));
    if env.len() > MOST || args.len() > MOST {
        return Err(Hinted::new(format!(
            "a kernel takes no more than {MOST} variables, and as many options"
        ))
        .hint("bring settings of the engine in /etc/docker/daemon.json: `[[file]]` of from-scratch.toml"));
    }
    for (name, value) in env {
        words.push(quoted(&format!("{name}={value}"))?);
    }
    let (line, run) = match job {
        [] => (None, &[][..]),
        _ => (Some("dockerlaunch.stdout=/dev/ttyS1"), &["run", "--"][..]),
    };
    words.extend(line.into_iter().chain(["--"]).chain(run.iter().copied()).map(str::to_owned));
    for word in args.iter().chain(job) {
        let text = word.to_str().ok_or_else(|| {
            Hinted::new(format!("`{}` is no UTF-8", word.display()))
                .hint("name files and options by UTF-8 alone")
        })?;
        words.push(quoted(text)?);
    }
    let line = words.join(" ");
    if line.len() > ROOM {
        return Err(Hinted::new(format!("the kernel's command line has no more than {ROOM} bytes"))
            .hint("bring what is long in a file: `[[file]]` of from-scratch.toml"));
    }
    Ok(line)
}

/// A word as the kernel and our launcher read it (kernel lib/cmdline.c, `next_arg`).
fn quoted(word: &str) -> Result<String, Hinted> {
    if word.contains(['"', '\n', '\0']) {
        let what = format!("`{}` cannot stand on a kernel's command line", word.escape_debug());
        return Err(Hinted::new(what)
            .hint("leave out double quotes and line ends")
            .hint("settings with quotes have a file: `[[file]]` of from-scratch.toml puts one at /etc/docker/daemon.json"));
    }
    // Of other bytes the kernel takes 0xa0 for a blank (lib/ctype.c).
    let plain = !word.is_empty() && word.is_ascii() && !word.contains(char::is_whitespace);
    Ok(if plain { word.to_owned() } else { format!("\"{word}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            append: "quiet".into(),
            memory: 2 << 30,
            cpus: None,
            disk: Some("/a,b".into()),
            network: Network::User,
            ports: vec!["8080:80".parse().unwrap()],
            lines: "/l".into(),
        }
    }

    #[test]
    fn the_machine_is_what_was_asked_for() {
        let args = machine().args(Accel::Tcg).unwrap();
        let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        let line = args.join(" ");
        for wanted in [
            "-accel tcg,thread=multi -cpu max,la57=off -smp 1",
            "-m 2048M",
            "-drive format=raw,if=virtio,discard=unmap,werror=report,file=/a,,b",
            "-nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:8080-:80",
            "-chardev file,id=status,path=/l/status -serial chardev:status",
        ] {
            assert!(line.contains(wanted), "{wanted}: {line}");
        }
        assert!(machine().args(Accel::Kvm).unwrap().windows(2).any(|pair| *pair == ["-smp", "2"]));
        let none = Machine { network: Network::None, ..machine() };
        assert!(none.args(Accel::Kvm).unwrap().ends_with(&["-nic".into(), "none".into()]));
        let six = Machine { ports: vec!["[::1]:1:2".parse().unwrap()], ..machine() };
        assert!(six.args(Accel::Kvm).is_err());
    }

    #[test]
    fn words_reach_the_init_as_they_are() {
        let env = [("A".to_owned(), "b c".to_owned())];
        let words = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
        let line = append(Network::None, true, &env, &[], &words(&["docker", "run", "", "a b"])).unwrap();
        let (kernel, init) = line.split_once(" -- ").unwrap();
        assert_eq!(init, "run -- docker run \"\" \"a b\"");
        assert!(kernel.contains("DOCKERLAUNCH_STORAGE=/dev/vda \"A=b c\" dockerlaunch.stdout=/dev/ttyS1"));
        assert!(!kernel.contains("ip="));
        let line = append(Network::User, false, &[], &words(&["--debug"]), &[]).unwrap();
        assert!(line.contains(" ip=10.0.2.15:") && line.ends_with(" -- --debug"), "{line}");
        assert!(
            append(Network::None, false, &[("M".into(), "voilà".into())], &[], &[])
                .unwrap()
                .contains("\"M=voilà\"")
        );
        for wrong in [words(&["a\"b"]), words(&[&"x".repeat(2048)]), words(&["--debug"; 25])] {
            assert!(append(Network::None, false, &[], &wrong, &[]).is_err());
        }
    }
}
