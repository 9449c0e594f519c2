//! Scenario suites: what users do with Docker, against the real thing.
//!
//! A scenario (`scenarios/`) knows only an [`Environment`]: a place where our image runs and a client can be started.
//! The test binaries in `tests/` each bring one environment and run the list in it. They use libtest-mimic, because the
//! harness has to decide while *listing* what can run here: what cannot is listed as ignored with its reason, and fails
//! when `FROM_SCRATCH_CI=1` says that nothing may be left out.

pub mod accepted;
pub mod agent;
pub mod build;
pub mod command;
pub mod datagram;
pub mod dind;
pub mod embedded;
pub mod environment;
pub mod environments;
pub mod faults;
pub mod firewall;
pub mod host;
pub mod host_check;
pub mod host_command;
pub mod image;
pub mod interrupt;
pub mod modules;
pub mod need;
pub mod nested;
pub mod nodes;
pub mod outside;
pub mod places;
pub mod product;
pub mod prove;
pub mod public_names;
pub mod results;
pub mod runner;
pub mod sandbox;
pub mod scenarios;
pub mod security;
pub mod small_files;
pub mod sources;
pub mod stream;
pub mod suite;
pub mod traces;
pub mod unpacked;
pub mod up;
pub mod userns;
pub mod vm;

pub use command::Outcome;
pub use environment::Environment;
pub use need::Need;
pub use scenarios::{EXTRAS, SCENARIOS, Scenario};
