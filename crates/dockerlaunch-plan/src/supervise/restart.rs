//! Whether and when an engine that has ended is started again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first pause; each further one in a row is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// No pause is longer.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An engine that has served this long was well: the count of restarts begins anew.
pub(super) const HEALTHY: Duration = Duration::from_secs(60);

/// What follows the end of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Our own end.
    No,
    /// Another start when it has failed, at most so many in a row.
    OnFailure(Option<u32>),
    /// Another start.
    Always,
}

impl Restart {
    /// `no`, `on-failure`, `on-failure:N`, `always`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "no" => Some(Self::No),
            "always" => Some(Self::Always),
            "on-failure" => Some(Self::OnFailure(None)),
            _ => text.strip_prefix("on-failure:")?.parse().ok().map(|times| Self::OnFailure(Some(times))),
        }
    }

    /// The pause before the next start, after this many restarts in a row; `None`: there is none.
    pub fn pause(self, status: i32, restarts: u32) -> Option<Duration> {
        let again = match self {
            // The engine could not even be executed (shells' statuses for that): a second try changes nothing.
            _ if matches!(status, 126 | 127) => false,
            Self::No => false,
            Self::OnFailure(times) => status != 0 && times.is_none_or(|times| restarts < times),
            Self::Always => true,
        };
        // Past 2^8 every pause is the longest one.
        again.then(|| LONGEST_PAUSE.min(FIRST_PAUSE * (1 << restarts.min(8))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pause = |restarts| Restart::Always.pause(0, restarts).map(|p| p.as_millis());
        assert_eq!([0, 1, 2, 7, 8, 1000].map(pause), [200, 400, 800, 25_600, 30_000, 30_000].map(Some));
    }

    #[test]
    fn a_policy_knows_when_to_give_up() {
        let again = |policy: &str, status, restarts| {
            Restart::parse(policy).expect(policy).pause(status, restarts).is_some()
        };
        assert!(!again("no", 1, 0));
        assert!(again("always", 0, 99) && again("always", 1, 99));
        assert!(!again("on-failure", 0, 0) && again("on-failure", 2, 99));
        assert!(again("on-failure:3", 2, 2) && !again("on-failure:3", 2, 3));
        assert!(!again("always", 127, 0) && !again("on-failure", 126, 0));
    }
}
