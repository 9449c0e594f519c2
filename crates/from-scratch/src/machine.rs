//! Runs the image as a virtual machine: a kernel of the host's starts our launcher as its init, under qemu, without root.
//!
//! `kernel` finds a kernel and its modules, `modules` chooses those that Docker may want, `qemu` says what the machine is made
//! of, and `run` has it run: the console on standard error, a job's output on standard output, the exit status by a line.

pub(crate) mod kernel;
pub(crate) mod modules;
pub(crate) mod qemu;
pub(crate) mod run;
