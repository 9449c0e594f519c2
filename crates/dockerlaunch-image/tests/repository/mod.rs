//! A Debian archive made and signed on the spot, served on loopback by a server that counts requests and can misbehave.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dockerlaunch_image::source::AptSettings;
use dockerlaunch_image::spec::Spec;
use dockerlaunch_image::{Arch, BuildRequest, Digest, Event, Output, Progress};
use pgp::composed::{
    CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::ser::Serialize as _;
use pgp::types::Password;

pub(crate) const PACKAGE: &str = "pool/main/c/ca-certificates/ca-certificates_1_all.deb";
pub(crate) const INDEX: &str = "dists/forky/main/binary-amd64/Packages.xz";
pub(crate) const RELEASE: &str = "dists/forky/InRelease";

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// One bit of each answer to this path is another one.
    FlipBit(&'static str),
    /// The next answer to this path ends after so many bytes.
    CutOnce(&'static str, usize),
    /// Every answer to this path ends after so many bytes, and nothing else is answered any more.
    Gone(&'static str, usize),
    /// The next answer to this path stops after so many bytes, and the connection stays open.
    StallOnce(&'static str, usize),
    /// As every answer to this path.
    Stall(&'static str, usize),
    /// A request for this path is never answered.
    Mute(&'static str),
    /// Every answer to this path has so many bytes, as it says.
    Claim(&'static str, u64),
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<(String, Option<String>)>,
    fault: Option<Fault>,
}

/// The served archive.
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/debian", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = Arc::clone(&state);
        // Ends with the test process; each connection is one request.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(connection, &shared));
            }
        });
        Self { url, state }
    }

    pub(crate) fn fault(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    pub(crate) fn replace(&self, files: BTreeMap<String, Vec<u8>>) {
        self.state.lock().unwrap().files = files;
    }

    /// Paths and ranges asked for since the last call.
    pub(crate) fn take_requests(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

fn answer(connection: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?;
    // Anything outside of the archive has a name that no file has.
    let path = path.strip_prefix("/debian/").unwrap_or(path).to_owned();
    let mut range = None;
    let mut since = false;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("range: ") {
            range = Some(value.to_owned());
        }
        since |= header.starts_with("if-modified-since: ");
    }
    let (body, cut, stalls) = {
        let mut state = state.lock().unwrap();
        state.requests.push((path.clone(), range.clone()));
        let mut body = state.files.get(&path).cloned();
        let (mut cut, mut stalls) = (None, false);
        match state.fault {
            Some(Fault::FlipBit(at)) if at == path => {
                let body = body.as_mut()?;
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
            Some(Fault::CutOnce(at, length)) if at == path => {
                cut = Some(length);
                state.fault = None;
            }
            Some(Fault::Gone(at, length)) if at == path => cut = Some(length),
            Some(Fault::Gone(..)) if !path.starts_with("dists/") => return None,
            Some(Fault::StallOnce(at, length)) if at == path => {
                (cut, stalls) = (Some(length), true);
                state.fault = None;
            }
            Some(Fault::Stall(at, length)) if at == path => (cut, stalls) = (Some(length), true),
            Some(Fault::Claim(at, length)) if at == path => {
                drop(state);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                return (&connection).write_all(head.as_bytes()).ok();
            }
            Some(Fault::Mute(at)) if at == path => {
                drop(state);
                keep_silent();
            }
            _ => {}
        }
        (body, cut, stalls)
    };
    let mut connection = connection;
    let Some(body) = body else {
        return write!(
            connection,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .ok();
    };
    if since {
        return write!(connection, "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n").ok();
    }
    let start =
        range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    let head = match start {
        Some(start) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n",
            body.len() - 1,
            body.len()
        ),
        None => "HTTP/1.1 200 OK\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n".to_owned(),
    };
    let rest = &body[start.unwrap_or(0)..];
    write!(connection, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len()).ok()?;
    connection.write_all(&rest[..cut.unwrap_or(rest.len()).min(rest.len())]).ok()?;
    if stalls {
        keep_silent();
    }
    Some(())
}

/// With the connection open, until the test process ends.
fn keep_silent() -> ! {
    loop {
        std::thread::park();
    }
}

/// A key made for one test.
pub(crate) struct Signer {
    key: SignedSecretKey,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let mut builder = SecretKeyParamsBuilder::default();
        builder
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Test archive <test@example.com>".to_owned());
        Self { key: builder.build().unwrap().generate(rand::thread_rng()).unwrap() }
    }

    pub(crate) fn sign(&self, text: &str) -> Vec<u8> {
        let message =
            CleartextSignedMessage::sign(rand::thread_rng(), text, &*self.key, &Password::empty()).unwrap();
        message.to_armored_string(Default::default()).unwrap().into_bytes()
    }

    pub(crate) fn write_keyring(&self, path: &Path) {
        SignedPublicKey::from(self.key.clone()).to_writer(&mut std::fs::File::create(path).unwrap()).unwrap();
    }
}

/// What a Release file says.
pub(crate) struct Suite {
    pub(crate) codename: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) valid_until: &'static str,
    pub(crate) version: &'static str,
    /// Bytes that the package has besides.
    pub(crate) filler: usize,
}

pub(crate) const FORKY: Suite = Suite {
    codename: "forky",
    suite: "testing",
    valid_until: "Sat, 01 Jan 2050 00:00:00 UTC",
    version: "1",
    filler: 0,
};

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    liblzma::read::XzEncoder::new(bytes, 6).read_to_end(&mut packed).unwrap();
    packed
}

fn deb(version: &str, filler: usize) -> Vec<u8> {
    let mut data = tar::Builder::new(Vec::new());
    // Noise, so that the package is long enough to be cut in the middle.
    let mut noise: String = (0..4000u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    noise.push_str(&"x".repeat(filler));
    let certificates = "usr/share/ca-certificates/mozilla";
    for (name, text) in [
        (format!("{certificates}/b.crt"), "bbb\n".to_owned()),
        (format!("{certificates}/a.crt"), format!("version {version}\n")),
        (format!("{certificates}/z.crt"), noise),
        ("usr/share/doc/ca-certificates/copyright".to_owned(), "MPL-2.0\n".to_owned()),
        // Almost what a component asks for.
        ("usr/bin/xzz".to_owned(), String::new()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        data.append_data(&mut header, format!("./{name}"), text.as_bytes()).unwrap();
    }
    let data = xz(&data.into_inner().unwrap());
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), ("data.tar.xz", &data)] {
        archive.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Names of all packages that images are made of.
fn packages() -> BTreeSet<&'static str> {
    let files = Spec::embedded().unwrap().components.iter().flat_map(|component| &component.files);
    files.map(|file| file.package_for("forky")).collect()
}

/// The text of a Release file, and the files it speaks of.
pub(crate) fn release(suite: &Suite, directory: &str) -> (String, BTreeMap<String, Vec<u8>>) {
    let package = deb(suite.version, suite.filler);
    let pool = PACKAGE.replace("_1_", &format!("_{}_", suite.version));
    // One file does for all packages, as no test unpacks more than one.
    let index: String = packages()
        .iter()
        .map(|name| {
            format!(
                "Package: {name}\nVersion: {}\nArchitecture: all\nFilename: {pool}\nSize: {}\nSHA256: {}\n\n",
                suite.version,
                package.len(),
                Digest::of(&package).hex()
            )
        })
        .collect();
    let packed = xz(index.as_bytes());
    let entry = |bytes: &[u8], name: &str| {
        format!(" {} {} main/binary-amd64/{name}\n", Digest::of(bytes).hex(), bytes.len())
    };
    let text = format!(
        "Origin: Debian\nSuite: {}\nCodename: {}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nValid-Until: {}\nSHA256:\n{}{}",
        suite.suite,
        suite.codename,
        suite.valid_until,
        entry(index.as_bytes(), "Packages"),
        entry(&packed, "Packages.xz"),
    );
    let files = BTreeMap::from([
        (pool, package),
        (format!("dists/{directory}/main/binary-amd64/Packages.xz"), packed),
    ]);
    (text, files)
}

/// A whole archive of one suite.
pub(crate) fn archive(suite: &Suite, signer: &Signer) -> BTreeMap<String, Vec<u8>> {
    let (text, mut files) = release(suite, suite.codename);
    files.insert(format!("dists/{}/InRelease", suite.codename), signer.sign(&text));
    files
}

/// One of each kind, by its name in this directory.
pub(crate) fn every_output(place: &Path) -> [Output; 6] {
    [
        Output::Oci(place.join("oci")),
        Output::Docker(place.join("docker")),
        Output::Tar(place.join("tar")),
        Output::Initramfs(place.join("initramfs")),
        Output::Dir(place.join("dir")),
        Output::Sbom(place.join("sbom")),
    ]
}

/// An archive of images, as `docker save` writes it, with a layer of so many zeros.
pub(crate) fn image_archive(layer: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let manifest = format!(r#"[{{"Config":"{}.json"}}]"#, "ab".repeat(32));
    for (name, bytes) in [("layer.tar", vec![0; layer]), ("manifest.json", manifest.into_bytes())] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A served archive, and a request to build from it.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) signer: Signer,
    pub(crate) server: Server,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::of(&FORKY)
    }

    pub(crate) fn of(suite: &Suite) -> Self {
        let signer = Signer::new();
        let directory = tempfile::tempdir().unwrap();
        signer.write_keyring(&directory.path().join("keyring.gpg"));
        let server = Server::start(archive(suite, &signer));
        Self { directory, signer, server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn request(&self) -> BuildRequest {
        BuildRequest {
            arch: Arch::Amd64,
            only: Some(vec!["ca-certificates".to_owned()]),
            mirror: Some(self.server.url.clone()),
            keyring: Some(self.path("keyring.gpg")),
            cache_dir: Some(self.path("cache")),
            outputs: vec![Output::Dir(self.path("out"))],
            apt: Some(AptSettings::none()),
            ..BuildRequest::new(Vec::new())
        }
    }

    /// What lies beside the cache and the keyring: outputs, and anything half made.
    pub(crate) fn left_over(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "cache" && name != "keyring.gpg")
            .collect();
        names.sort();
        names
    }
}

/// Remembers what it is told, and stops the build at the first event that the test names.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) warnings: Mutex<Vec<String>>,
    pub(crate) steps: Mutex<Vec<String>>,
    pub(crate) stop_at: Option<fn(&Event<'_>) -> bool>,
    pub(crate) stopped: std::sync::atomic::AtomicBool,
}

impl Progress for Recorder {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Warning(text) => self.warnings.lock().unwrap().push(text.to_owned()),
            Event::Step(text) => self.steps.lock().unwrap().push(text.to_owned()),
            _ => {}
        }
        if self.stop_at.is_some_and(|stop_at| stop_at(&event)) {
            self.stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn cancelled(&self) -> bool {
        self.stopped.load(std::sync::atomic::Ordering::Relaxed)
    }
}
