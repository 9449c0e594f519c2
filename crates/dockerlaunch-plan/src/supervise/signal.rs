//! Signals by number (signal(7)); the same on every architecture that we build for.
#![allow(missing_docs)]

pub const HUP: i32 = 1;
pub const INT: i32 = 2;
pub const QUIT: i32 = 3;
pub const KILL: i32 = 9;
pub const USR1: i32 = 10;
pub const USR2: i32 = 12;
pub const TERM: i32 = 15;
pub const WINCH: i32 = 28;

/// What the loop handles.
pub const HANDLED: &[i32] = &[HUP, INT, QUIT, TERM, USR1, USR2, WINCH];

/// What stops us: SIGTERM in order, after the drain if there is one; SIGINT and SIGQUIT without it, and at once when we
/// are stopping already.
pub const STOP: &[i32] = &[TERM, INT, QUIT];
