//! How much time the stop has, ours and the engine's.

use std::time::Duration;

use crate::config::duration;
use crate::{Config, Facts};

/// `docker stop` outside waits ten seconds before it kills.
const DEFAULT: Duration = Duration::from_secs(8);

/// From the signal to stop until everything is ended. A user who gives the engine time wants it to have that.
pub fn time(config: &Config, facts: &Facts) -> Duration {
    let of_engine = match asked_for(config, facts) {
        None => DEFAULT,
        // dockerd takes a negative number for no limit at all.
        Some(seconds) => {
            u64::try_from(seconds).map_or(duration::LONGEST, |n| Duration::from_secs(n) + SOONER)
        }
    };
    config.settings.stop_timeout.unwrap_or(of_engine.min(duration::LONGEST))
}

/// Whether the engine leaves its containers running when it ends (moby daemon/daemon.go, `Shutdown`).
pub fn keeps(config: &Config, facts: &Facts) -> bool {
    config.engine.switch("live-restore").or(facts.daemon_json.live_restore).unwrap_or_default()
}

/// The engine gives up this much before us, so that it still ends by itself.
const SOONER: Duration = Duration::from_secs(1);

/// What the user gives the engine, on its command line or in its configuration file.
fn asked_for(config: &Config, facts: &Facts) -> Option<i64> {
    let on_line = config.engine.option("shutdown-timeout").and_then(|text| text.parse().ok());
    on_line.or(facts.daemon_json.shutdown_timeout)
}

/// The engine's own limit, made to fit one that the user set for us. dockerd takes it for the least that it gives itself:
/// a container that may take longer (`--stop-timeout`, 10 s by default, and 5 s more) makes it longer (moby
/// daemon/daemon.go, `shutdownTimeout`). So it cannot be made to fit our default, and need not be: containers are ended in
/// time (`EndContainers`).
pub fn flag(config: &Config, facts: &Facts) -> Option<String> {
    if config.engine.only_informs() || asked_for(config, facts).is_some() {
        return None;
    }
    let seconds = config.settings.stop_timeout?.saturating_sub(SOONER).as_secs().max(1);
    Some(format!("--shutdown-timeout={seconds}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Engine;

    fn config(args: &[&str], stop: Option<&str>) -> Config {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let env = stop.map(|time| ("DOCKERLAUNCH_STOP_TIMEOUT".to_owned(), time.to_owned()));
        Config::new(Engine::new("dockerd", &args), &env.into_iter().collect())
    }

    #[test]
    fn live_restore_is_found_wherever_it_is_set() {
        let row = |args: &[&str], file| {
            let mut facts = Facts::default();
            facts.daemon_json.live_restore = file;
            keeps(&config(args, None), &facts)
        };
        assert!(row(&["--live-restore"], None) && row(&[], Some(true)));
        assert!(!row(&[], None) && !row(&["--live-restore=false"], Some(true)));
    }

    #[test]
    fn the_engine_and_we_agree_about_the_time() {
        let row = |args: &[&str], stop, json| {
            let mut facts = Facts::default();
            facts.daemon_json.shutdown_timeout = json;
            let config = config(args, stop);
            (time(&config, &facts).as_millis(), flag(&config, &facts))
        };
        let flag = |seconds: u32| Some(format!("--shutdown-timeout={seconds}"));
        assert_eq!(row(&[], None, None), (8000, None));
        assert_eq!(row(&[], Some("60s"), None), (60_000, flag(59)));
        assert_eq!(row(&[], Some("500ms"), None), (500, flag(1)));
        assert_eq!(row(&["--shutdown-timeout=30"], None, None), (31_000, None));
        assert_eq!(row(&["--shutdown-timeout", "30"], Some("20"), None), (20_000, None));
        assert_eq!(row(&[], None, Some(12)), (13_000, None));
        assert_eq!(row(&["--shutdown-timeout=-1"], None, None).0, duration::LONGEST.as_millis());
        assert_eq!(
            row(&["--shutdown-timeout=9223372036854775807"], None, None).0,
            duration::LONGEST.as_millis()
        );
        assert_eq!(row(&["--validate"], Some("60s"), None).1, None);
    }
}
