//! What must be done so that Docker can run here: decided, never done.
//!
//! [`Facts`] describe the system, [`Config`] what the user asked for; [`plan`] turns both into a [`Plan`], a list of
//! steps whose [`Action`]s are data. The launcher (`dockerlaunch`) reads the facts and performs the actions; `plan`,
//! `check` and the real start all show the same plan.
//!
//! This crate is pure: no file system, environment, process, network or clock (its `clippy.toml` forbids them).
#![forbid(unsafe_code)]

pub mod action;
pub mod check;
pub mod config;
pub mod diagnose;
pub mod facts;
pub mod log;
pub mod mask;
pub mod plan;
pub mod problem;
pub mod render;
pub mod report;
pub mod rules;
pub mod step;
pub mod supervise;

pub use action::Action;
pub use config::Config;
pub use facts::Facts;
pub use mask::{masked, masked_json, masked_word};
pub use plan::{ActionError, Executor, LaunchError, Plan, Report, apply, plan};
pub use problem::{Hint, Problem};
pub use rules::RULES;
pub use step::{OnFailure, Rule, Stage, Step, StepId, Verdict};
