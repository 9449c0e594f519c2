//! Clients that do nothing, or nothing sensible: others go on being served.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Fault, acknowledged, fault, inside, often};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;
use crate::up::{Instance, Options};

/// The area's table.
pub const FAULTS: &[Fault] = &[
    often(
        "connections::a_handshake_that_hangs",
        "others are served by TLS and by the socket meanwhile",
        a_handshake_that_hangs,
    ),
    fault("connections::garbage", "the same engine serves others, on the socket and by TLS", garbage),
    fault(
        "connections::ten_thousand_on_the_socket",
        "others are served meanwhile, and none of them is left when they go",
        || ten_thousand(idle_on_the_socket),
    ),
    fault(
        "connections::ten_thousand_by_tcp",
        "others are served meanwhile, and none of them is left when they go",
        || ten_thousand(idle_by_tcp),
    ),
];

const IDLE: usize = 10_000;

/// For all connections of a fault together.
const ALL_OF_THEM: Duration = Duration::from_secs(120);

/// By so many descriptors the engine's own needs may vary.
const OWN: usize = 100;

const PORT: u16 = 2376;

/// Where the launcher keeps what a client needs.
const TLS: [&str; 6] = [
    "--host=tcp://127.0.0.1:2376",
    "--tlsverify",
    "--tlscacert=/certs/client/ca.pem",
    "--tlscert=/certs/client/cert.pem",
    "--tlskey=/certs/client/key.pem",
    "version",
];

fn with_tls(purpose: &str) -> Result<Instance> {
    let instance =
        Instance::start_with(purpose, &Options { engine: &["dockerd-entrypoint.sh"], ..Options::default() })?;
    acknowledged::make(&instance)?;
    others_are_served(&instance).context("before anything goes wrong")?;
    Ok(instance)
}

/// Requests by both ways, and a container.
fn others_are_served(instance: &Instance) -> Result<()> {
    let env: &dyn Environment = instance;
    env.docker(&TLS).context("by TLS")?;
    env.docker(&["run", "--rm", BOX, "true"]).context("a container")?;
    env.exec(&["dockerlaunch", "healthcheck"], b"")?.exits(0).map(drop)
}

/// What one connection may take, of what is left for all.
fn left(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(20));
    ensure!(!left.is_zero(), "the connections were not made within {ALL_OF_THEM:?}");
    Ok(left)
}

/// A connection inside the instance, made by a thread that enters its network.
fn by_tcp(instance: &Instance, count: usize) -> Result<Vec<TcpStream>> {
    let namespace = File::open(format!("/proc/{}/ns/net", inside::pid_1(instance)?.as_raw_nonzero()))?;
    let connect = move || -> Result<Vec<TcpStream>> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let deadline = Instant::now() + ALL_OF_THEM;
        (0..count)
            .map(|_| Ok(TcpStream::connect_timeout(&([127, 0, 0, 1], PORT).into(), left(deadline)?)?))
            .collect()
    };
    thread::spawn(connect).join().map_err(|_| anyhow!("the thread panicked"))?
}

/// A connection to the socket. Where too many others wait it gives up, as a blocking one would not.
pub(crate) fn by_socket(instance: &Instance) -> Result<UnixStream> {
    let directory = File::open(instance.socket().parent().context("no directory")?)?;
    // The path may be longer than an address, but not that of its directory's handle.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/docker.sock", directory.as_raw_fd()))?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(Duration::from_secs(20)))?;
    rustix::net::connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

/// What begins a ClientHello of 512 bytes.
const HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

fn a_handshake_that_hangs() -> Result<()> {
    let mut instance = with_tls("handshake")?;
    let mut hanging = by_tcp(&instance, 20)?;
    for stream in &mut hanging {
        stream.write_all(HELLO)?;
    }
    others_are_served(&instance)?;
    for stream in &mut hanging {
        stream.set_nonblocking(true)?;
        let waits = stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        ensure!(waits, "it was hung up on");
    }
    drop(hanging);
    others_are_served(&instance)?;
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}

fn garbage() -> Result<()> {
    let mut instance = with_tls("garbage")?;
    let engine = inside::find(&instance, "dockerd")?;
    let noise = acknowledged::noise(1 << 20);
    let unfinished =
        b"POST /images/load HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhalf";
    let endless = [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'a'; 2 << 20]].concat();
    let smuggled =
        b"POST /images/create HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\n{}{}";
    let upgraded =
        b"POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0\0\0garbage";
    let cases: [&[u8]; 8] =
        [&noise, &[0; 4096], b"\r\n\r\n\r\n", unfinished, &endless, smuggled, upgraded, HELLO];
    let mut held = Vec::new();
    for case in cases {
        let socket = by_socket(&instance)?;
        send(&socket, case)?;
        held.push(socket);
        for stream in by_tcp(&instance, 1)? {
            // What is no handshake is answered by the end, perhaps before all of it is written.
            stream.set_write_timeout(Some(Duration::from_secs(20)))?;
            let _ = (&stream).write_all(case);
            let _ = stream.shutdown(Shutdown::Write);
        }
        (&instance as &dyn Environment).docker(&["ps"])?;
    }
    others_are_served(&instance)?;
    drop(held);
    others_are_served(&instance)?;
    acknowledged::is_there(&instance)?;
    ensure!(inside::lives(engine), "the engine was ended by it");
    instance.tear_down()
}

/// Writes it, and reads whatever comes within a moment: an engine that hangs up is in its right.
fn send(mut stream: &UnixStream, bytes: &[u8]) -> Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 4096]);
    Ok(())
}

fn idle_on_the_socket(instance: &Instance) -> Result<Vec<File>> {
    let deadline = Instant::now() + ALL_OF_THEM;
    let one = |_| {
        left(deadline)?;
        Ok(File::from(std::os::fd::OwnedFd::from(by_socket(instance)?)))
    };
    (0..IDLE).map(one).collect()
}

fn idle_by_tcp(instance: &Instance) -> Result<Vec<File>> {
    let streams = by_tcp(instance, IDLE)?;
    Ok(streams.into_iter().map(|stream| File::from(std::os::fd::OwnedFd::from(stream))).collect())
}

/// As many descriptors for this process, which mostly begins with 1024.
fn allow(descriptors: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(descriptors)?;
    if let Some(maximum) = limit.maximum {
        ensure!(
            maximum >= wanted,
            "this takes {wanted} descriptors, and `ulimit -Hn` allows {maximum}: raise it"
        );
    }
    let current = limit.current.map(|current| current.max(wanted));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, ..limit })?)
}

/// All at once: the engine may have a million descriptors.
fn ten_thousand(connect: fn(&Instance) -> Result<Vec<File>>) -> Result<()> {
    allow(IDLE + OWN)?;
    let mut instance = with_tls("idle")?;
    let engine = inside::find(&instance, "dockerd")?;
    let descriptors = || -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", engine.as_raw_nonzero()))?.count())
    };
    let before = descriptors()?;
    let idle = connect(&instance)?;
    ensure!(idle.len() == IDLE);
    eventually("the engine has taken all of them", Duration::from_secs(60), || {
        let now = descriptors()?;
        ensure!(now + OWN >= before + IDLE, "it has {now} descriptors, and had {before}");
        Ok(true)
    })?;
    others_are_served(&instance)?;
    drop(idle);
    eventually("the engine has let go of them", Duration::from_secs(60), || {
        let now = descriptors()?;
        ensure!(now < before + OWN, "it has {now} descriptors, and had {before}");
        Ok(true)
    })?;
    others_are_served(&instance)?;
    acknowledged::is_there(&instance)?;
    ensure!(inside::lives(engine), "the engine was ended by it");
    instance.tear_down()
}
