//! Runs the image without any container engine.
//!
//! `start` makes cgroups, namespaces and an overlay root, and starts the image's own launcher as PID 1 in them;
//! the launcher does the rest, as it would for the kernel. On the host nothing changes but the state directory
//! and the cgroups `from-scratch/NAME`.

mod authorities;
pub(crate) mod cgroup;
pub(crate) mod hierarchy;
pub(crate) mod join;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod stage;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod terminal;
