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
/// SIGRTMIN+3 as Docker and the C library count, the STOPSIGNAL of images that were made for systemd.
pub const RTMIN_3: i32 = 37;

/// What the loop handles.
pub const HANDLED: &[i32] = &[HUP, INT, QUIT, TERM, USR1, USR2, WINCH, RTMIN_3];

/// What stops us: SIGTERM in order, after the drain if there is one; SIGINT and SIGQUIT without it, and at once when we
/// are stopping already.
pub const STOP: &[i32] = &[TERM, INT, QUIT];

/// What a signal means to us.
pub fn meant(number: i32) -> i32 {
    if number == RTMIN_3 { TERM } else { number }
}
