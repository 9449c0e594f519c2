//! How a build is shown: bars on a terminal, plain lines otherwise; and how Ctrl-C reaches it.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::Context as _;
use dockerlaunch_image::{Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use crate::signals::{self, Signals};

const STYLE: &str = "{msg:32!} [{bar:24}] {bytes:>11} / {total_bytes:11} {bytes_per_sec}";

/// Shows a build on standard error, and stops it on the first signal that would end it. A second one ends the process.
pub(crate) struct BuildProgress {
    bars: Option<MultiProgress>,
    running: Mutex<HashMap<String, ProgressBar>>,
    /// Said already: `up` builds two things from one archive.
    warnings: Mutex<HashSet<String>>,
    stop: Arc<AtomicBool>,
    /// Number of the signal behind `stop`.
    signal: Arc<AtomicUsize>,
}

impl BuildProgress {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(0));
        let ignored = signals::ignored();
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            // As under `nohup`.
            if signals::is_in(ignored, signal) {
                continue;
            }
            let register = || {
                // In this order: the first signal finds the flag unset, and sets it. A terminal that goes away may send
                // SIGHUP twice.
                if signal != SIGHUP {
                    flag::register_conditional_default(signal, Arc::clone(&stop))?;
                }
                flag::register_usize(signal, Arc::clone(&number), signal as usize)?;
                flag::register(signal, Arc::clone(&stop))
            };
            register().context("cannot watch for Ctrl-C")?;
        }
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Ok(Self { bars, running: Mutex::default(), warnings: Mutex::default(), stop, signal: number })
    }

    /// What a shell reports for a program that the signal ended: 128 and the signal's number.
    pub(crate) fn exit_status(&self) -> u8 {
        128 + self.signal.load(Ordering::Relaxed) as u8
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn is_news(&self, warning: &str) -> bool {
        self.warnings.lock().is_ok_and(|mut said| said.insert(warning.to_owned()))
    }

    fn start(&self, name: &str, size: Option<u64>, resumed_from: u64) {
        let Some(bars) = &self.bars else {
            let megabytes = size.unwrap_or_default() as f64 / 1e6;
            let resumed = if resumed_from > 0 {
                format!(", from {:.1} MB on", resumed_from as f64 / 1e6)
            } else {
                String::new()
            };
            eprintln!("  fetching {name} ({megabytes:.1} MB{resumed})");
            return;
        };
        let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_style(ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_owned());
        bar.set_position(resumed_from);
        if let Ok(mut running) = self.running.lock()
            && let Some(old) = running.insert(name.to_owned(), bars.add(bar))
        {
            old.finish_and_clear();
        }
    }
}

impl Progress for BuildProgress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Step(text) => self.line(text),
            Event::Warning(text) if self.is_news(text) => self.line(&format!("warning: {text}")),
            Event::FetchStarted { name, size, resumed_from } => self.start(name, size, resumed_from),
            Event::FetchAdvanced { name, bytes } => {
                if let Ok(running) = self.running.lock()
                    && let Some(bar) = running.get(name)
                {
                    bar.inc(bytes);
                }
            }
            Event::FetchFinished { name } => {
                if let Ok(mut running) = self.running.lock()
                    && let Some(bar) = running.remove(name)
                {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A build that stops for the same signals as the rest of a command.
pub(crate) struct Stoppable<'a> {
    shown: BuildProgress,
    signals: &'a Signals,
    stopped_by: OnceLock<Signal>,
}

impl<'a> Stoppable<'a> {
    pub(crate) fn new(shown: BuildProgress, signals: &'a Signals) -> Self {
        Self { shown, signals, stopped_by: OnceLock::new() }
    }

    /// The first signal that came.
    pub(crate) fn stopped_by(&self) -> Option<Signal> {
        self.stopped_by.get().copied()
    }
}

impl Progress for Stoppable<'_> {
    fn event(&self, event: Event<'_>) {
        self.shown.event(event);
    }

    fn cancelled(&self) -> bool {
        if let Ok(Some(signal)) = self.signals.next() {
            // The first one counts.
            let _ = self.stopped_by.set(signal);
        }
        self.stopped_by.get().is_some()
    }
}
