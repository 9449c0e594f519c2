//! What an engine weighs, idle and with containers: all that runs for it, and not what runs in the containers.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use super::engine::{BOX, Engine, Outer, Whose};
use super::interrupt::pause;
use super::line::{Bar, Line, turns};
use super::processes;

/// MB less than dockerd and its own containerd.
const LESS: f64 = 8.0;

/// After it is ready, an engine still tidies up; and after a container's start, a little.
pub(super) const SETTLED: Duration = Duration::from_secs(5);
const STARTED: Duration = Duration::from_secs(2);

/// Containers at a time.
const CONTAINERS: [usize; 3] = [1, 10, 50];

/// What runs for each of them.
const SHIM: &str = "containerd-shim";

/// Idle, and then with each number of containers: a figure each.
pub(super) fn memory(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    let (ours, bare) = turns(bench.few(), || round(outer, Whose::Ours), || round(outer, Whose::Bare))?;
    let line = |index: usize, what: String| {
        let column = |rounds: &[[f64; 4]]| rounds.iter().map(|round| round[index]).collect();
        Line::new(what, "MB", column(&ours)).beside(column(&bare))
    };
    let idle = line(0, "idle engine, containerd and launcher".to_owned()).bar(Bar::LessBy(LESS));
    let more = CONTAINERS.iter().zip(1..).map(|(count, index)| {
        let s = if *count == 1 { "" } else { "s" };
        line(index, format!("… and with {count} container{s}, for each"))
    });
    Ok([idle].into_iter().chain(more).collect())
}

fn round(outer: &Outer<'_>, whose: Whose) -> Result<[f64; 4]> {
    let (engine, _) = Engine::start(outer, whose)?;
    engine.import_box()?;
    pause(SETTLED)?;
    let idle = weight(&engine, whose, 0)?;
    let mut figures = [idle; 4];
    let mut running = 0;
    for (count, figure) in CONTAINERS.into_iter().zip(&mut figures[1..]) {
        let first = running + 1;
        let start =
            format!("for n in $($b seq {first} {count}); do d run -d --name c$n {BOX} sleep 1d; done");
        engine.shell(&format!("b=/exchange/busybox; {start}"))?;
        running = count;
        pause(STARTED)?;
        *figure = (weight(&engine, whose, count)? - idle) / count as f64;
    }
    Ok(figures)
}

/// MB of the programs in the engine's container, which must all be there.
fn weight(engine: &Engine<'_>, whose: Whose, containers: usize) -> Result<f64> {
    let mut wanted = vec!["containerd", "dockerd"];
    wanted.extend((whose == Whose::Ours).then_some("dockerlaunch"));
    wanted.extend(vec![SHIM; containers]);
    let container = engine.inspect("{{.Id}}")?;
    let mut programs = processes::all()?;
    programs.retain(|one| one.cgroup.contains(&container) && wanted.contains(&&*one.name));
    let mut found: Vec<&str> = programs.iter().map(|one| &*one.name).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    ensure!(found == wanted, "{wanted:?} should run there, and {found:?} do");
    programs.iter().map(|one| processes::share(one.pid)).sum()
}
