//! A registry that stops in the middle of a layer until it is told to go on: a pull that lasts as long as a test needs.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::net::Shutdown;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use super::client::PATIENCE;
use super::inside;
use crate::command::eventually;
use crate::image;
use crate::up::Instance;

/// On the instance's own loopback, where the engine wants no certificates.
const PORT: u16 = 5077;

/// What it serves.
pub(crate) const IMAGE: &str = "127.0.0.1:5077/large:1";

/// In the network of an instance, for as long as it is there.
pub(crate) struct Registry {
    listener: Arc<TcpListener>,
    served: Arc<Served>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Layer {
    /// Nobody has asked for it.
    #[default]
    Waits,
    /// Its first half is out.
    Half,
    /// It may go out whole.
    GoesOn,
}

/// The image's three blobs, by what a client asks for.
struct Served {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    state: Mutex<Layer>,
    changed: Condvar,
}

impl Registry {
    /// Listens on the instance's loopback.
    pub(crate) fn start(instance: &Instance, rootfs: Vec<u8>) -> Result<Self> {
        let namespace = File::open(format!("/proc/{}/ns/net", inside::pid_1(instance)?.as_raw_nonzero()))?;
        // A socket stays in the network where it was made.
        let listen = move || -> Result<TcpListener> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(TcpListener::bind(("127.0.0.1", PORT))?)
        };
        let listener = thread::spawn(listen).join().map_err(|_| anyhow!("the thread panicked"))??;
        let listener = Arc::new(listener);
        let served = Arc::new(Served::new(rootfs)?);
        let thread = {
            let (listener, served) = (Arc::clone(&listener), Arc::clone(&served));
            thread::spawn(move || {
                thread::scope(|scope| {
                    while let Ok((stream, _)) = listener.accept() {
                        let served = &served;
                        // An engine that hangs is for the test to tell, not for us to wait for.
                        let _ = stream.set_read_timeout(Some(PATIENCE));
                        let _ = stream.set_write_timeout(Some(PATIENCE));
                        // A client that was killed reads no more.
                        scope.spawn(move || served.answer(&stream).unwrap_or_default());
                    }
                });
            })
        };
        Ok(Self { listener, served, thread: Some(thread) })
    }

    /// Until half of the layer is out.
    pub(crate) fn is_in_the_middle(&self) -> Result<()> {
        eventually(
            "a pull is in the middle of its layer",
            PATIENCE,
            || Ok(*self.served.lock() == Layer::Half),
        )
    }

    /// Nothing is held back any more.
    pub(crate) fn go_on(&self) {
        *self.served.lock() = Layer::GoesOn;
        self.served.changed.notify_all();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.go_on();
        // The listener's `accept` returns; connections end with their answer.
        let _ = rustix::net::shutdown(&*self.listener, Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Served {
    fn new(layer: Vec<u8>) -> Result<Self> {
        let digest = |bytes: &[u8]| format!("sha256:{}", image::sha256(bytes));
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}
        }))?;
        let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)});
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blob("application/vnd.oci.image.config.v1+json", &config),
            "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)]
        }))?;
        Ok(Self { manifest, config, layer, state: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Layer> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One request, one answer.
    fn answer(&self, mut stream: &TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().context("no request")??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let words: Vec<&str> = request.split(' ').collect();
        let [method, path, _] = words[..] else { return Err(anyhow!("no request: {request}")) };
        ensure!(["GET", "HEAD"].contains(&method), "{request}");
        let is = |bytes: &[u8]| path.ends_with(&image::sha256(bytes));
        let (kind, body) = match path {
            "/v2/" => ("application/json", &b"{}"[..]),
            _ if path.contains("/manifests/") => (MANIFEST, &self.manifest[..]),
            _ if is(&self.config) => ("application/octet-stream", &self.config[..]),
            _ if is(&self.layer) => ("application/octet-stream", &self.layer[..]),
            _ => {
                stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                return Ok(());
            }
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: sha256:{}\r\nConnection: close\r\n\r\n",
            body.len(),
            image::sha256(body)
        )?;
        if method == "HEAD" {
            return Ok(());
        }
        if !is(&self.layer) {
            return Ok(stream.write_all(body)?);
        }
        let (first, second) = body.split_at(body.len() / 2);
        stream.write_all(first)?;
        self.hold();
        Ok(stream.write_all(second)?)
    }

    /// Until the test lets it go on.
    fn hold(&self) {
        let mut state = self.lock();
        if *state == Layer::Waits {
            *state = Layer::Half;
        }
        let deadline = Instant::now() + PATIENCE;
        while *state == Layer::Half && Instant::now() < deadline {
            let waited = self.changed.wait_timeout(state, PATIENCE);
            (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
