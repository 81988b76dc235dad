//! How long a second takes: real time, or the sandbox's faster one.

use std::time::{Duration, Instant, SystemTime};

/// A clock that may run faster than the wall's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    factor: f64,
}

impl Clock {
    /// Returns the wall's clock.
    pub fn real() -> Self {
        Self { factor: 1.0 }
    }

    /// Returns a clock on which `factor` seconds pass in one real second; `factor` is positive.
    pub fn scaled(factor: f64) -> Self {
        assert!(factor.is_finite() && factor > 0.0, "a clock runs forwards");
        Self { factor }
    }

    /// Returns how many seconds pass on this clock in a real one.
    pub fn speed(&self) -> f64 {
        self.factor
    }

    /// Sleeps until `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.real_time(duration)).await;
    }

    /// Returns how long a time on this clock takes in real time.
    pub fn real_time(&self, duration: Duration) -> Duration {
        duration.div_f64(self.factor)
    }

    /// Returns how long ago `then` was on this clock.
    pub fn since(&self, then: Instant) -> Duration {
        then.elapsed().mul_f64(self.factor)
    }

    /// Returns at most how long ago `then` was on this clock, a suspended laptop's sleep included.
    pub fn passed(&self, then: Moment) -> Duration {
        // One of the two stands still while a laptop sleeps, the other one is set by people.
        let slept = then.wall.elapsed().unwrap_or_default();
        then.running.elapsed().max(slept).mul_f64(self.factor)
    }
}

/// A moment as this laptop's own clocks show it: good for telling that too much time has passed, and no more.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    running: Instant,
    wall: SystemTime,
}

impl Moment {
    /// Returns the present one.
    pub fn now() -> Self {
        Self { running: Instant::now(), wall: SystemTime::now() }
    }
}
