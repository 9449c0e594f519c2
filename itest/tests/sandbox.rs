//! The `root_` tier, second part: the sandbox's own promises, each in instances of its own.

use std::process::ExitCode;

use itest::suite::Suite;
use itest::{Need, sandbox};

fn main() -> ExitCode {
    Suite::new("root_sandbox", &[Need::Root, Need::Busybox])
        .test("exec", &[], sandbox::exec)
        .test("terminal", &[Need::Program("script")], sandbox::terminal)
        .test("interrupted", &[], sandbox::interrupted)
        .long("bad_disks", &[Need::Program("unshare")], sandbox::bad_disks)
        .long("odd_paths", &[], sandbox::odd_paths)
        .test("run_of_an_instance", &[], sandbox::run_of_an_instance)
        .test("keys_of_the_session", &[Need::Program("perl")], sandbox::keys_of_the_session)
        .long("other_suite", &[], sandbox::other_suite)
        .test("published_port", &[], sandbox::published_port)
        .run(|| Ok(()))
}
