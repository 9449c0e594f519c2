//! Nested networks: packets of the right size, addresses that nobody else has, names of the network outside.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::build::IMAGE;
use crate::command::eventually;
use crate::environment::Environment;
use crate::image::{self, BOX};
use crate::interrupt;
use crate::nested::Nested;
use crate::up::Instance;

/// Port of the server outside.
const PORT: u16 = 7007;

/// A network of the outer engine with a server on it, and our image nested twice: on that network, and in there on docker0.
struct Outside {
    nested: Option<Nested>,
    outer: Arc<Instance>,
    network: String,
}

impl Outside {
    fn new(outer: Arc<Instance>, mtu: u32) -> Result<Self> {
        let network = format!("outside-{mtu}");
        let mut outside = Self { nested: None, outer, network };
        let network = outside.network.clone();
        let option = format!("com.docker.network.driver.mtu={mtu}");
        outside.outer().docker(&["network", "create", "--opt", &option, &network])?;
        outside.run(outside.outer(), "server", &["--network", &network])?;
        let outer = Arc::clone(&outside.outer);
        let first =
            Nested::run_with(outer, "first", IMAGE, &["--network", &network], &[])?.with_base_image()?;
        let archive = outside.outer.exchange().outside.join("image.tar");
        fs::hard_link(archive, first.exchange().outside.join("image.tar"))?;
        let inner: &dyn Environment = &first;
        inner.docker(&["load", "-i", "/exchange/image.tar"])?;
        outside.nested = Some(first);
        Ok(outside)
    }

    fn outer(&self) -> &dyn Environment {
        &*self.outer
    }

    fn first(&self) -> Result<&dyn Environment> {
        let first: &dyn Environment = self.nested.as_ref().context("not started")?;
        Ok(first)
    }

    /// An engine in the engine in the engine, with the base image in it.
    fn second(&self) -> Result<Second<'_>> {
        let first = self.first()?;
        first.docker(&["run", "-d", "--privileged", "--name", "second", IMAGE])?;
        let second = Second { first };
        eventually("the engine of the third level answers", Duration::from_secs(60), || {
            second.docker(&["ps"]).map(|_| true)
        })?;
        let import = ["exec", "-i", "second", "docker", "import", "-", BOX];
        first.docker_with_input(&import, &image::busybox_rootfs()?)?.success()?;
        Ok(second)
    }

    /// A container that only waits, known on this machine by a number that nobody else has.
    fn run(&self, engine: &dyn Environment, name: &str, options: &[&str]) -> Result<()> {
        let head = ["run", "-d", "--name", name];
        let mark = self.mark(name);
        let args: Vec<&str> = head.iter().chain(options).chain(&[BOX, "sleep", &mark]).copied().collect();
        engine.docker(&args).map(drop)
    }

    fn mark(&self, name: &str) -> String {
        let number =
            format!("{}{name}", self.network).bytes().fold(7u64, |n, b| n * 31 % 99_991 + u64::from(b));
        format!("{}", 1_000_000 + number + u64::from(std::process::id()) * 1_000_000 % 900_000_000)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _undoing = interrupt::undoing();
        self.nested = None;
        let gone = self
            .outer()
            .remove(&["server"])
            .and_then(|()| self.outer().docker(&["network", "rm", &self.network]).map(drop));
        if let Err(error) = gone {
            eprintln!("error: network `{}` was not removed: {error:#}", self.network);
        }
    }
}

/// The innermost engine.
struct Second<'a> {
    first: &'a dyn Environment,
}

impl Second<'_> {
    fn docker(&self, args: &[&str]) -> Result<String> {
        let head = ["exec", "second", "docker"];
        self.first.docker(&head.iter().chain(args).copied().collect::<Vec<_>>())
    }
}

/// Does this in the network namespace of the container that waits with this number.
fn within<T: Send + 'static>(mark: &str, run: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let wanted = format!("sleep\0{mark}\0");
    let is_it =
        |entry: &fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|c| c == wanted);
    let process = fs::read_dir("/proc")?.flatten().find(is_it);
    let process = process.with_context(|| format!("no process runs `sleep {mark}`"))?;
    let namespace = File::open(process.path().join("ns/net"))?;
    let thread = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        run()
    });
    Ok(thread.join().map_err(|_| anyhow!("the thread panicked"))??)
}

/// From a container a packet of exactly this size arrives outside in one piece, and one with a byte more is refused at once.
fn has_mtu(outside: &Outside, name: &str, server: IpAddr, mtu: u32) -> Result<()> {
    /// Headers of IPv4 and UDP.
    const HEADERS: usize = 28;
    let size = usize::try_from(mtu)? - HEADERS;
    let receiver = within(&outside.mark("server"), || UdpSocket::bind(("0.0.0.0", PORT)))?;
    receiver.set_read_timeout(Some(Duration::from_secs(15)))?;
    let sent = within(&outside.mark(name), move || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
        socket.connect((server, PORT))?;
        // Before anything can have told the sender about the path.
        let larger = socket.send(&vec![0; size + 1]).map_err(|error| error.raw_os_error());
        socket.send(&vec![0; size])?;
        Ok(larger)
    })?;
    const EMSGSIZE: i32 = 90;
    ensure!(sent == Err(Some(EMSGSIZE)), "{name}: a packet of {} bytes: {sent:?}", mtu + 1);
    let mut buffer = [0; 2000];
    let (length, _) =
        receiver.recv_from(&mut buffer).with_context(|| format!("{name}: {mtu} bytes are lost"))?;
    ensure!(length == size, "{name}: {length} bytes came");
    Ok(())
}

/// Through docker0, a network that a user makes, and the same one level further in.
pub fn mtu(outer: Arc<Instance>, mtu: u32) -> Result<()> {
    let outside = Outside::new(outer, mtu)?;
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let server = outside.outer().docker(&["inspect", "--format", format, "server"])?.parse()?;
    let first = outside.first()?;
    first.docker(&["network", "create", "user"])?;
    outside.run(first, "on-docker0", &[])?;
    outside.run(first, "on-a-user-network", &["--network", "user"])?;
    let second = outside.second()?;
    second.docker(&["network", "create", "user"])?;
    let deep = outside.mark("deep");
    second.docker(&["run", "-d", BOX, "sleep", &deep])?;
    let deeper = outside.mark("deep-on-a-user-network");
    second.docker(&["run", "-d", "--network", "user", BOX, "sleep", &deeper])?;
    for name in ["on-docker0", "on-a-user-network", "deep", "deep-on-a-user-network"] {
        has_mtu(&outside, name, server, mtu)?;
    }
    Ok(())
}

/// Names of the network outside, from docker0, a user network, and one level further in.
pub fn names(outer: Arc<Instance>) -> Result<()> {
    let outside = Outside::new(outer, 1500)?;
    let first = outside.first()?;
    let its_own = "/etc/resolv.conf:/resolv.conf:ro";
    let resolv = first.docker(&["run", "--rm", "-v", its_own, BOX, "cat", "/resolv.conf"])?;
    ensure!(resolv.contains("127.0.0.11"), "the resolver outside is another: {resolv}");
    first.docker(&["network", "create", "user"])?;
    let second = outside.second()?;
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let server = outside.outer().docker(&["inspect", "--format", format, "server"])?;
    for network in ["bridge", "user"] {
        let asked = ["run", "--rm", "--network", network, BOX, "nslookup", "server"];
        let answer = first.docker(&asked).with_context(|| format!("on {network}"))?;
        ensure!(answer.contains(&server), "on {network}: {answer}");
    }
    let answer = second.docker(&["run", "--rm", BOX, "nslookup", "server"])?;
    ensure!(answer.contains(&server), "nested twice: {answer}");
    Ok(())
}

/// More networks than dockerd's own ranges have room for, none of which is anybody else's, on each level.
pub fn pools(outer: Arc<Instance>) -> Result<()> {
    let outside = Outside::new(outer, 1500)?;
    let first = outside.first()?;
    let mut second = Vec::new();
    // Other scenarios have networks in the outer engine too, which ours is kept apart from.
    let mut taken = subnets(&|args| outside.outer().docker(args), &format!("name={}", outside.network))?;
    for number in 0..40 {
        first.docker(&["network", "create", &format!("many-{number}")])?;
    }
    let inner = outside.second()?;
    inner.docker(&["network", "create", "one-more"])?;
    taken.extend(subnets(&|args| first.docker(args), ALL)?);
    ensure!(taken.len() == 42, "{taken:?}");
    second.extend(subnets(&|args| inner.docker(args), ALL)?);
    ensure!(second.len() == 2, "{second:?}");
    taken.extend(second);
    for (at, one) in taken.iter().enumerate() {
        for other in &taken[at + 1..] {
            ensure!(!overlap(*one, *other), "{one:?} and {other:?} clash, of {taken:?}");
        }
    }
    Ok(())
}

/// All networks that have addresses.
const ALL: &str = "driver=bridge";

/// Address and prefix of such networks of an engine.
fn subnets(docker: &dyn Fn(&[&str]) -> Result<String>, which: &str) -> Result<Vec<(u32, u32)>> {
    let ids = docker(&["network", "ls", "--quiet", "--filter", which])?;
    let format = "{{range .IPAM.Config}}{{.Subnet}}{{end}}";
    let args: Vec<&str> = ["network", "inspect", "--format", format].into_iter().chain(ids.lines()).collect();
    docker(&args)?
        .lines()
        .map(|line| {
            let (address, prefix) = line.split_once('/').with_context(|| line.to_owned())?;
            Ok((address.parse::<std::net::Ipv4Addr>()?.to_bits(), prefix.parse()?))
        })
        .collect()
}

fn overlap(one: (u32, u32), other: (u32, u32)) -> bool {
    let shift = 32 - one.1.min(other.1);
    one.0 >> shift == other.0 >> shift
}

/// In a pod only our container starts again, and finds docker0 of the one before. Another engine beside it is refused, and the
/// first one keeps what it has.
pub fn neighbours(outer: Arc<Instance>) -> Result<()> {
    let environment: &dyn Environment = &*outer;
    environment.docker(&["run", "-d", "--name", "pod", BOX, "sleep", "7000"])?;
    let in_pod = ["--network", "container:pod"];
    let result = Nested::run_with(Arc::clone(&outer), "first", IMAGE, &in_pod, &[]).and_then(|first| {
        // Its carrier and the state of its IPv6 address come and go with containers.
        let stays = |line: &&str| ["link/ether ", "inet "].iter().any(|word| line.trim().starts_with(word));
        let links = |from: &dyn Environment| -> Result<String> {
            let show = ["run", "--rm", "--network", "host", BOX, "ip", "address", "show", "docker0"];
            Ok(from.docker(&show)?.lines().filter(stays).collect())
        };
        let first = first.with_base_image()?;
        first.restart()?;
        first.runs_a_container()?;
        let before = links(&first)?;
        let second =
            environment.try_docker(&["run", "--rm", "--privileged", "--network", "container:pod", IMAGE])?;
        let said = second.exits(125)?.stderr;
        if !said.contains("another Docker runs in this network namespace") {
            bail!("{said}");
        }
        first.runs_a_container()?;
        ensure!(!before.is_empty() && links(&first)? == before, "docker0 is another: {before}");
        Ok(())
    });
    environment.remove(&["pod"])?;
    result
}
