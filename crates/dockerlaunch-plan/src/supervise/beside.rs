//! When the containerd beside the engine, which has ended, is started again.

use std::time::Duration;

use super::restart::{HEALTHY, LONGEST_PAUSE};

/// The first pause; dockerd's own.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// So many ends within this time, before the engine was ever ready, are enough: it waits for a containerd that does not come.
const ENOUGH: u32 = 5;
const WINDOW: Duration = Duration::from_secs(15);

/// How often it has ended in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    engine_is_ready: bool,
    ends: u32,
    /// When the first of them was.
    first: Duration,
}

impl Beside {
    /// Counts anew, beside an engine that is ready, or not yet.
    pub fn new(engine_is_ready: bool) -> Self {
        Self { engine_is_ready, ..Self::default() }
    }

    /// It has ended at `now`, after this time: the pause before its next start; `None`: there is none.
    pub fn ended(&mut self, now: Duration, ran: Duration) -> Option<Duration> {
        let is_over = if self.engine_is_ready { ran >= HEALTHY } else { now > self.first + WINDOW };
        if self.ends == 0 || is_over {
            (self.ends, self.first) = (0, now);
        }
        self.ends += 1;
        match (self.engine_is_ready, self.ends) {
            (false, ENOUGH..) => None,
            (false, _) => Some(FIRST_PAUSE),
            // Past 2^6 every pause is the longest one.
            (true, ends) => Some(LONGEST_PAUSE.min(FIRST_PAUSE * (1 << (ends - 1).min(6)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn beside_an_engine_that_waits_for_it_the_fifth_end_is_the_last() {
        let mut beside = Beside::new(false);
        let pauses = [0, 1, 2, 3, 4].map(|n| beside.ended(SECOND * n, Duration::ZERO));
        assert_eq!(
            pauses,
            [Some(FIRST_PAUSE), Some(FIRST_PAUSE), Some(FIRST_PAUSE), Some(FIRST_PAUSE), None]
        );
        let mut slow = Beside::new(false);
        assert!((0..20).all(|n| slow.ended(SECOND * 4 * n, SECOND * 4).is_some()), "it ran meanwhile");
    }

    #[test]
    fn beside_one_that_serves_the_pauses_double_until_it_stays() {
        let mut beside = Beside::new(true);
        let mut pause = |ran| beside.ended(SECOND, ran).expect("always").as_millis();
        let pauses = [(); 8].map(|()| pause(Duration::ZERO));
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(pause(HEALTHY), 500);
    }
}
