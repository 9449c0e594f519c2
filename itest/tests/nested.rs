//! The `nested_` tier: the image inside our own engine, with the seed's commands word for word, and embedded in five unlike bases.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use itest::build::IMAGE;
use itest::nested::{self, Nested};
use itest::suite::{Shared, Suite, Turns};
use itest::up::Instance;
use itest::{Environment, Need, SCENARIOS};
use itest::{embedded, image, outside, product, unpacked};

/// The engine that all of them are nested in; it has our image.
static OUTER: Shared<Instance> = Shared::new(|| nested::outer("nested"));

/// One container for the scenarios.
static NESTED: Shared<Nested> =
    Shared::new(|| Nested::run(OUTER.get()?, "scenarios", IMAGE, &[])?.with_base_image());

fn main() -> ExitCode {
    let bookworm: &[Need] = &[Need::Bookworm];
    Suite::new("nested_up", &[Need::Root, Need::Busybox, Need::Program("script")])
        .test("seed::run_and_exec", &[], run_and_exec)
        .test("seed::old_spelling", &[], old_spelling)
        .test("refused::without_privileges", &[], without_privileges)
        .test("refused::wrong_engines_and_options", &[], wrong_engines_and_options)
        .test("embedded::in_a_bare_busybox", &[], || in_base("embedded-box", image::BOX, BUSYBOX))
        .long("embedded::in_nothing", &[], || in_base("embedded-nothing", "scratch", &[]))
        .long("embedded::in_a_base_with_loader_variables", bookworm, with_loader_variables)
        .test("embedded::in_the_stable_release", bookworm, in_bookworm)
        .long(
            "embedded::in_a_base_with_a_newer_c_library",
            &[Need::Program("dpkg-deb")],
            with_newer_c_library,
        )
        .long("embedded::exported_over_a_base", bookworm, exported_over_bookworm)
        .test("outside::mtu_1400_pain_2", &[], || outside::mtu(OUTER.get()?, 1400))
        .long("outside::mtu_1280_pain_2", &[], || outside::mtu(OUTER.get()?, 1280))
        .long("outside::addresses_of_nobody_else_pain_12", &[], || outside::pools(OUTER.get()?))
        .long("outside::names_pain_13", &[], || outside::names(OUTER.get()?))
        .long("outside::neighbours_pain_51", &[], || outside::neighbours(OUTER.get()?))
        .scenarios(Turns { days: 20, ahead: 1 }, &NESTED, SCENARIOS)
        .run(|| {
            drop(NESTED.take());
            OUTER.take().and_then(Arc::into_inner).map_or(Ok(()), |mut outer| outer.tear_down())
        })
}

/// `docker run --name daemon --privileged -d IMAGE`, `docker exec -it daemon docker ps`.
fn run_and_exec() -> Result<()> {
    let daemon = Nested::run(OUTER.get()?, "daemon", IMAGE, &[])?;
    let listed = daemon.exec_tty(&["docker", "ps"])?.exits(0)?;
    ensure!(listed.text().contains("CONTAINER ID"), "{}", listed.text());
    let listed = daemon.exec(&["docker", "ps"], b"")?.exits(0)?;
    ensure!(listed.text().contains("CONTAINER ID"), "{}", listed.text());
    daemon.with_base_image()?.runs_a_container()
}

/// `docker run --name daemon --privileged -d IMAGE daemon -s overlay`: the driver of that name is gone from Docker.
fn old_spelling() -> Result<()> {
    let daemon = Nested::run(OUTER.get()?, "daemon", IMAGE, &["daemon", "-s", "overlay"])?;
    let inner: &dyn Environment = &daemon;
    ensure!(inner.docker(&["info", "--format", "{{.Driver}}"])? == "overlay2");
    let log = daemon.outer().try_docker(&["logs", daemon.container()])?;
    // The engine's own lines name the driver as well.
    ensure!(
        log.stderr.lines().any(|line| line.starts_with("dockerlaunch: ") && line.contains("overlay2`")),
        "nothing says that the old spelling was translated: {}",
        log.stderr
    );
    daemon.with_base_image()?.runs_a_container()
}

/// `docker run IMAGE` without `--privileged`: everything that is missing at once, with what to add to the command line.
fn without_privileges() -> Result<()> {
    let outer = OUTER.get()?;
    let environment: &dyn Environment = &*outer;
    let refused = environment.try_docker(&["run", "--rm", IMAGE])?.exits(125)?;
    for word in ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "hint:", "--privileged"] {
        ensure!(refused.stderr.contains(word), "no `{word}` in: {}", refused.stderr);
    }
    Ok(())
}

/// What cannot be started ends with the status that a shell would give, and says what to do instead.
fn wrong_engines_and_options() -> Result<()> {
    let outer = OUTER.get()?;
    let environment: &dyn Environment = &*outer;
    let cases: &[(i32, &[&str])] = &[
        (127, &["/nowhere/dockerd"]),
        (126, &["/usr/lib/dockerlaunch/etc/passwd", "-d"]),
        (125, &["daemon", "--disable-legacy-registry"]),
    ];
    for (status, command) in cases {
        let args: Vec<&str> =
            ["run", "--rm", "--privileged", IMAGE].iter().chain(*command).copied().collect();
        let refused = environment.try_docker(&args)?;
        ensure!(refused.stderr.contains("hint:"), "{command:?} gives no advice: {}", refused.stderr);
        refused.exits(*status)?;
    }
    Ok(())
}

/// Commands of the base and what they print: they must still work beside a running engine.
type BasePrograms = &'static [(&'static [&'static str], &'static str)];

const BUSYBOX: BasePrograms = &[
    (&["busybox", "ls", "-d", "/bin"], "/bin"),
    (&["/bin/sh", "-c", "echo $((6 * 7))"], "42"),
    (&["/bin/ps"], "PID"),
];

const DEBIAN: BasePrograms = &[
    (&["apt-get", "--version"], "apt 2"),
    (&["bash", "-c", "echo $BASH_VERSION"], "5."),
    (&["perl", "-e", "print 6 * 7"], "42"),
    (&["ls", "-d", "/usr/bin/perl"], "/usr/bin/perl"),
];

fn in_bookworm() -> Result<()> {
    embedded::import_bookworm(&*OUTER.get()?)?;
    in_base("embedded-bookworm", "bookworm", DEBIAN)
}

/// Libraries of the base that would come first, if they came at all: its own C library among them.
fn with_loader_variables() -> Result<()> {
    let outer = OUTER.get()?;
    embedded::import_bookworm(&outer)?;
    let environment: &dyn Environment = &*outer;
    let context = environment.exchange().directory("loader-context")?;
    context.write(
        "Dockerfile",
        "FROM bookworm\nENV LD_LIBRARY_PATH=/lib/x86_64-linux-gnu LD_PRELOAD=/lib/x86_64-linux-gnu/libm.so.6\n",
    )?;
    environment.docker(&["build", "-t", "loader", &context.inside])?;
    in_base("embedded-loader", "loader", DEBIAN)
}

/// A base whose own C library is newer: neither takes that of the other.
fn with_newer_c_library() -> Result<()> {
    let name = "embedded-newer";
    let made = embedded::Newer::make()?;
    unpacked::over(&made.base, &made.files, &[])?;
    let outer = OUTER.get()?;
    let environment: &dyn Environment = &*outer;
    environment.docker_with_input(&["import", "-", "newer"], &fs::read(&made.base)?)?.success()?;
    embedded::add(&outer, name, "newer", "custom-dind", &fs::read(&made.files)?, false)?;
    runs(name, &[(&["/usr/bin/xz", "--version"], "liblzma 5.")], |nested| {
        let own = embedded::c_library(nested, &["/lib/x86_64-linux-gnu/libc.so.6"])?;
        let private = ["/usr/lib/dockerlaunch/ld", "/usr/lib/dockerlaunch/lib/libc.so.6"];
        let ours = embedded::c_library(nested, &private)?;
        ensure!(own > ours, "the base's C library is {own:?}, which is not newer than ours, {ours:?}");
        let libraries =
            nested.exec(&["/lib64/ld-linux-x86-64.so.2", "--list", "/usr/bin/xz"], b"")?.success()?;
        let has_its_own = libraries.contains("=> /lib/x86_64-linux-gnu/libc.so.6");
        ensure!(has_its_own && !libraries.contains("dockerlaunch"), "the base's xz takes: {libraries}");
        let ours = nested.exec(&["/usr/lib/dockerlaunch/bin/xz", "--version"], b"")?.success()?;
        ensure!(ours.contains("liblzma 5."), "our xz says: {ours}");
        Ok(())
    })
}

/// What the seed's `docker export` gives changes nothing of a base but the names that Docker adds itself.
fn exported_over_bookworm() -> Result<()> {
    let files = tempfile::NamedTempFile::new()?;
    fs::write(files.path(), embedded::export(&*OUTER.get()?)?)?;
    unpacked::over(&product::bookworm(), files.path(), &embedded::ENGINES_OWN)
}

/// The seed's recipe; and what the base brings still works beside a running engine.
fn in_base(name: &'static str, base: &str, programs: BasePrograms) -> Result<()> {
    embedded::build(&*OUTER.get()?, name, base, "custom-dind", false)?;
    runs(name, programs, |_| Ok(()))
}

/// Docker and the base's programs, in what was built; and what else there is to look at.
fn runs(
    name: &'static str,
    programs: BasePrograms,
    look: impl FnOnce(&dyn Environment) -> Result<()>,
) -> Result<()> {
    let outer = OUTER.get()?;
    let nested = Nested::run(Arc::clone(&outer), name, "custom-dind", &[])?.with_base_image()?;
    nested.runs_a_container()?;
    look(&nested)?;
    for (command, printed) in programs {
        let outcome = nested.exec(command, b"")?.exits(0)?;
        ensure!(outcome.text().contains(printed), "`{}` printed: {}", command.join(" "), outcome.text());
    }
    drop(nested);
    let environment: &dyn Environment = &*outer;
    environment.docker(&["rmi", "custom-dind"]).map(drop)
}
