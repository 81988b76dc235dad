//! The sandbox's own time: faster than real time, jumping on request, never going back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A clock that several threads share; clones show the same time.
#[derive(Clone)]
pub struct Clock {
    reading: Arc<Mutex<Reading>>,
    speed: f64,
}

/// Where the clock stood, and when in real time that was.
#[derive(Clone, Copy)]
struct Reading {
    at: Timestamp,
    since: Instant,
}

impl Clock {
    /// Returns a clock that shows `start` now and runs `speed` times as fast as real time.
    pub fn starting(start: Timestamp, speed: f64) -> Self {
        let reading = Reading { at: start, since: Instant::now() };
        Self { reading: Arc::new(Mutex::new(reading)), speed: speed.max(0.0) }
    }

    /// Returns the sandbox's time.
    pub fn now(&self) -> Timestamp {
        let reading = *self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.shown(reading)
    }

    /// Moves the clock forward by `seconds`; a negative number does nothing.
    pub fn jump(&self, seconds: f64) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let at = later(self.shown(*reading), seconds);
        *reading = Reading { at, since: Instant::now() };
    }

    /// Returns how many sandbox seconds go by in a real one.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    fn shown(&self, reading: Reading) -> Timestamp {
        later(reading.at, reading.since.elapsed().as_secs_f64() * self.speed)
    }
}

/// Returns `at` plus `seconds`, or `at` itself when the sum is out of range or would lie before it.
pub fn later(at: Timestamp, seconds: f64) -> Timestamp {
    let Ok(passed) = SignedDuration::try_from_secs_f64(seconds) else { return at };
    if passed.is_negative() { at } else { at.checked_add(passed).unwrap_or(at) }
}

/// Writes a time as HTTP's `Date` header does.
pub fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_moves_only_by_jumps_and_never_back() {
        let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let clock = Clock::starting(start, 0.0);
        clock.jump(90.0);
        clock.jump(-60.0);
        assert_eq!(clock.now(), "2026-11-23T10:01:30Z".parse().unwrap());
        assert_eq!(http_date(clock.now()), "Mon, 23 Nov 2026 10:01:30 GMT");
    }

    #[test]
    fn a_fast_clock_runs_ahead_of_real_time() {
        let start = Timestamp::now();
        let real = Instant::now();
        let clock = Clock::starting(start, 1_000_000.0);
        while real.elapsed().as_micros() < 100 {}
        assert!(clock.now().duration_since(start) >= SignedDuration::from_secs(100));
    }
}
