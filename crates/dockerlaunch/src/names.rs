//! Answers for containers: what they ask on the bridge's address is asked of the nameservers that only this network namespace
//! reaches. Messages are passed on as they are (RFC 1035, 4.2).

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

const PORT: u16 = 53;

/// Those who ask try again after five seconds (resolv.conf(5), `timeout`).
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that wait for an answer at the same time; for more the oldest are given up.
const WAITING: usize = 256;

/// Those of one container among them, so that one alone does not drive all others out.
const WAITING_OF_ONE: usize = WAITING / 4;

/// Connections at the same time: a container that asks by TCP is rare.
const CONNECTIONS: usize = 16;

/// For a thread that copies small messages.
const STACK: usize = 64 << 10;

/// The largest message over UDP that is passed on (RFC 6891, EDNS, with room to spare).
const MESSAGE: usize = 8 << 10;

/// Sockets on the bridge's address.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) address: IpAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Binds them; the address comes with dockerd's bridge, later.
pub(crate) fn bind(address: IpAddr) -> io::Result<Answering> {
    let place = SocketAddr::new(address, PORT);
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = |kind| -> io::Result<_> {
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::set_ip_freebind(&socket, true)?;
        sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
        rustix::net::bind(&socket, &place)?;
        Ok(socket)
    };
    let (udp, tcp) = (socket(SocketType::DGRAM)?, socket(SocketType::STREAM)?);
    rustix::net::listen(&tcp, 16)?;
    Ok(Answering { address, udp: udp.into(), tcp: tcp.into() })
}

impl Answering {
    /// Answers for as long as this process lives.
    pub(crate) fn start(self, servers: Vec<IpAddr>) -> io::Result<()> {
        let servers: Arc<[SocketAddr]> = servers.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
        let (udp, tcp) = (self.udp, self.tcp);
        udp.set_nonblocking(true)?;
        let all = Arc::clone(&servers);
        spawn(Box::new(move || datagrams(&udp, &all)))?;
        spawn(Box::new(move || connections(&tcp, &servers)))
    }
}

fn spawn(run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().name("names".to_owned()).stack_size(STACK).spawn(run).map(drop)
}

/// A question that was passed on.
struct Question {
    from: SocketAddr,
    message: Vec<u8>,
    /// Connected to the server that is asked, from a port of its own.
    socket: UdpSocket,
    server: usize,
    since: Instant,
}

fn datagrams(udp: &UdpSocket, servers: &[SocketAddr]) {
    let mut waiting: Vec<Question> = Vec::new();
    let mut buffer = vec![0; MESSAGE];
    loop {
        let mut fds = vec![PollFd::new(udp, PollFlags::IN)];
        fds.extend(waiting.iter().map(|question| PollFd::new(&question.socket, PollFlags::IN)));
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        // Nobody asks: nothing wakes us.
        let limit = if waiting.is_empty() { None } else { Some(&second) };
        if poll(&mut fds, limit).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut ready_of = ready[1..].iter();
        waiting.retain_mut(|question| {
            if *ready_of.next().unwrap_or(&false) {
                match question.socket.recv(&mut buffer) {
                    Ok(length) => {
                        // Whoever does not take the answer asks again.
                        let _ = udp.send_to(&buffer[..length], question.from);
                        return false;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return question.ask_next(servers),
                }
            }
            question.since.elapsed() < PATIENCE
        });
        // Between two looks at answers no more than can wait for one.
        for _ in 0..WAITING {
            let Ok((length, from)) = udp.recv_from(&mut buffer) else { break };
            let is_theirs = |question: &Question| question.from.ip() == from.ip();
            let has_many = waiting.iter().filter(|question| is_theirs(question)).count() >= WAITING_OF_ONE;
            if has_many || waiting.len() == WAITING {
                let oldest = waiting.iter().position(|question| !has_many || is_theirs(question));
                oldest.map(|oldest| waiting.remove(oldest));
            }
            waiting.extend(Question::ask(buffer[..length].to_vec(), from, servers));
        }
    }
}

impl Question {
    fn ask(message: Vec<u8>, from: SocketAddr, servers: &[SocketAddr]) -> Option<Self> {
        servers.iter().enumerate().find_map(|(server, address)| {
            let socket = asked(&message, *address).ok()?;
            Some(Self { from, message: message.clone(), socket, server, since: Instant::now() })
        })
    }

    /// The server has refused; whether there is another.
    fn ask_next(&mut self, servers: &[SocketAddr]) -> bool {
        let rest = servers.get(self.server + 1..).unwrap_or_default();
        let Some(next) = Self::ask(std::mem::take(&mut self.message), self.from, rest) else { return false };
        *self = Self { server: self.server + 1 + next.server, ..next };
        true
    }
}

fn asked(message: &[u8], server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(message)?;
    Ok(socket)
}

fn connections(tcp: &TcpListener, servers: &Arc<[SocketAddr]>) {
    let open = Arc::new(AtomicUsize::new(0));
    for client in tcp.incoming() {
        // Out of descriptors, say: it passes.
        let Ok(client) = client else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if open.load(Ordering::Relaxed) == CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (mine, servers) = (Arc::clone(&open), Arc::clone(servers));
        let started = spawn(Box::new(move || {
            // A connection that breaks is its client's to make again.
            let _ = pass_on(client, &servers);
            mine.fetch_sub(1, Ordering::Relaxed);
        }));
        if started.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn pass_on(mut client: TcpStream, servers: &[SocketAddr]) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut server = TcpStream::connect(servers)?;
    server.set_read_timeout(Some(PATIENCE))?;
    loop {
        copy_message(&mut client, &mut server)?;
        copy_message(&mut server, &mut client)?;
    }
}

/// A message over TCP has its length in front.
fn copy_message(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut length = [0; 2];
    from.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
    from.read_exact(&mut message[2..])?;
    to.write_all(&message)
}
