//! Builds the launcher, static, and hands it to `src/launcher.rs` to embed: so that `from-scratch` is whole however
//! it was built or installed.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the outer cargo sets for our own build and what must not leak into the launcher's: flags and wrappers of
/// coverage and lint runs, and its directories.
const CLEARED: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
];

/// Targets of the images' architectures.
const OTHERS: &[&str] = &[
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
    "armv7-unknown-linux-musleabihf",
    "riscv64gc-unknown-linux-musl",
];

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = manifest_dir()?.join("../..").canonicalize()?;
    // Relative to this package: a build directory may be copied to another clone.
    for path in ["../dockerlaunch", "../dockerlaunch-plan", "../../Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=launcher.ld");
    watch_targets()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let target = launcher_target()?;
    let target_dir = shared_target_dir(&out);
    // Offline first: it is what an outer `--offline` asks for, and quicker when everything is there.
    if !cargo_build(&workspace, &target, &target_dir, true)?
        && !cargo_build(&workspace, &target, &target_dir, false)?
    {
        return Err(
            "the launcher cannot be built: see above; `cargo build -p dockerlaunch` shows more".into()
        );
    }
    let built = target_dir.join(&target).join("launcher/dockerlaunch");
    std::fs::copy(&built, out.join("dockerlaunch"))
        .map_err(|error| format!("{}: {error}", built.display()))?;
    let others = others(&workspace, &target, &target_dir, &out)?;
    std::fs::write(out.join("launchers.rs"), others)?;
    Ok(())
}

/// Launchers for the other architectures of images, as far as their targets are installed: a list for `src/launcher.rs`.
fn others(workspace: &Path, own: &str, target_dir: &Path, out: &Path) -> Result<String, Box<dyn Error>> {
    let arch = |target: &str| target.split('-').next().map(str::to_owned);
    let mut list = String::from("&[");
    for target in OTHERS.iter().filter(|target| arch(target) != arch(own)) {
        if !is_installed(target)? {
            continue;
        }
        // What a target needs beside its library may be missing, and nobody has asked for this one.
        if cargo_build(workspace, target, target_dir, true)?
            || cargo_build(workspace, target, target_dir, false)?
        {
            let (built, name) = (target_dir.join(target).join("launcher/dockerlaunch"), format!("/{target}"));
            std::fs::copy(&built, out.join(target))
                .map_err(|error| format!("{}: {error}", built.display()))?;
            list += &format!("({target:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), {name:?}))),");
        } else {
            println!("cargo::warning=there is no launcher for {target} in this build");
        }
    }
    Ok(list + "]")
}

/// rustup writes this file anew when a target is installed.
fn watch_targets() -> Result<(), Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc).args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let components = Path::new(&sysroot).join("lib/rustlib/components");
    if components.is_file() {
        println!("cargo::rerun-if-changed={}", components.display());
    }
    Ok(())
}

/// Where this crate is now: a build directory may outlive the clone in which this script was compiled.
fn manifest_dir() -> Result<PathBuf, Box<dyn Error>> {
    Ok(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?.into())
}

/// One directory for all of the outer profiles, so that the launcher is built once; and not the outer cargo's own, on
/// which it holds a lock while we run.
fn shared_target_dir(out: &Path) -> PathBuf {
    let build = out.ancestors().find(|path| path.file_name().is_some_and(|name| name == "build"));
    build.and_then(|build| build.ancestors().nth(2)).unwrap_or(out).join("launcher")
}

/// musl where that target is installed: it makes the smaller binary. Else the C library of this target, static.
fn launcher_target() -> Result<String, Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let musl = target.replace("-gnu", "-musl");
    Ok(if is_installed(&musl)? { musl } else { target })
}

fn is_installed(target: &str) -> Result<bool, Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output()?;
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success() && !directory.is_empty() && Path::new(&directory).is_dir())
}

fn cargo_build(
    workspace: &Path,
    target: &str,
    target_dir: &Path,
    offline: bool,
) -> Result<bool, Box<dyn Error>> {
    let script = manifest_dir()?.join("launcher.ld");
    // Apart from each other, since a path may have a comma.
    let script = format!("-Clink-arg={}", script.display());
    let mut flags = vec!["-Ctarget-feature=+crt-static", "-Clink-arg=-T", &script];
    if target.split('-').next() != env::var("TARGET")?.split('-').next() {
        // This machine's own linker knows no other machine's code; Rust brings one that does, and musl with it.
        flags.extend(["-Clinker=rust-lld", "-Clink-self-contained=yes"]);
    }
    let mut command = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    for name in CLEARED {
        command.env_remove(name);
    }
    command
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args([
            "build",
            "--locked",
            "--package",
            "dockerlaunch",
            "--bin",
            "dockerlaunch",
            "--profile",
            "launcher",
        ])
        // With an explicit target the flags are not used for proc macros, which cannot be static.
        .args(["--target", target]);
    if offline {
        command.arg("--offline");
        // Its failure is not the last word, so what it says would only confuse.
        let output = command.output()?;
        return Ok(output.status.success());
    }
    Ok(command.status()?.success())
}
