//! When bytes may pass over a link, as arithmetic on moments: no clock and no socket here.

use std::time::Duration;

use tokio::time::Instant;

use super::Link;

/// The stretch of time whose bytes pass at once: a timer is no finer.
const GRAIN: Duration = Duration::from_millis(2);

/// The two directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the service.
    In,
    /// To its client.
    Out,
}

/// What the bytes of one connection have to wait for.
///
/// Requests and answers take turns, so the distance counts once per turn: its first byte arrives half a
/// round trip after it left, and the others behind it as fast as the link is wide.
pub struct Pace {
    link: Link,
    /// When the connection is there for its client.
    open: Instant,
    turn: Option<Turn>,
}

/// What passes one way before something passes the other way.
struct Turn {
    way: Way,
    /// When its first byte arrives.
    arrives: Instant,
    /// The rate counts from here.
    since: Instant,
    passed: u64,
    /// Since when the other side has nothing to give or takes nothing: what the rate allows meanwhile is gone.
    held: Option<Instant>,
}

impl Pace {
    /// Starts with a connection that is being opened.
    pub fn opening(link: Link, now: Instant) -> Self {
        Self { link, open: now + link.round_trip, turn: None }
    }

    /// Returns whether bytes of this direction would go on with a turn that has begun.
    pub fn goes_on(&self, way: Way) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.way == way)
    }

    /// Returns how many of the bytes that are there may pass, or from when on some may.
    pub fn grant(&mut self, way: Way, now: Instant, there: usize) -> Result<usize, Instant> {
        if !self.goes_on(way) {
            let arrives = now.max(self.open) + self.link.round_trip / 2;
            self.turn = Some(Turn { way, arrives, since: arrives, passed: 0, held: None });
        }
        match (&mut self.turn, self.link.rate) {
            (Some(turn), _) if now < turn.arrives => Err(turn.arrives),
            (Some(turn), Some(rate)) => turn.room(rate as f64, now, there as f64),
            _ => Ok(there),
        }
    }

    /// Counts bytes that have passed.
    pub fn passed(&mut self, count: usize) {
        self.turn.iter_mut().for_each(|turn| turn.passed += count as u64);
    }

    /// Notes that from now on the other side is what everything waits for.
    ///
    /// Where we are late ourselves, we make up for it: a busy machine is no narrower network.
    pub fn held_up(&mut self, now: Instant) {
        self.turn.iter_mut().for_each(|turn| turn.held = Some(now));
    }
}

impl Turn {
    /// Returns how many bytes the rate has room for, or when it has for as many as are worth waking up for.
    fn room(&mut self, rate: f64, now: Instant, there: f64) -> Result<usize, Instant> {
        if let Some(held) = self.held.take() {
            let used = self.since + Duration::from_secs_f64(self.passed as f64 / rate);
            self.since += now.saturating_duration_since(used.max(held));
        }
        let free = GRAIN.as_secs_f64() * rate;
        let room = now.duration_since(self.since).as_secs_f64() * rate + free - self.passed as f64;
        // A byte less than computed: what is rounded must not send anybody to sleep again.
        let worth = there.min(free).floor();
        if room + 1.0 >= worth {
            return Ok(there.min(room).max(1.0) as usize);
        }
        Err(now + Duration::from_secs_f64((worth - room) / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 20_000_000;
    const ROUND_TRIP: Duration = Duration::from_millis(30);
    const PIECE: usize = 65_536;

    fn pace(rate: Option<u64>) -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::opening(Link { round_trip: ROUND_TRIP, rate }, now), now)
    }

    /// Lets bytes pass one way, each as soon as it may but for the lateness, and returns when the last has.
    fn carry(pace: &mut Pace, way: Way, mut now: Instant, bytes: usize, late: Duration) -> Instant {
        let mut left = bytes;
        while left > 0 {
            match pace.grant(way, now, left.min(PIECE)) {
                Ok(count) => {
                    pace.passed(count);
                    left -= count;
                }
                Err(moment) => {
                    assert!(moment > now, "a wait that ends before it begins");
                    now = moment + late;
                }
            }
        }
        now
    }

    #[test]
    fn opening_costs_one_round_trip_and_so_does_each_request_with_its_answer() {
        let (mut pace, opened) = pace(None);
        let asked = carry(&mut pace, Way::In, opened, 300, Duration::ZERO);
        let answered = carry(&mut pace, Way::Out, asked, 300, Duration::ZERO);
        assert_eq!(answered - opened, 2 * ROUND_TRIP);
        let later = answered + Duration::from_secs(1);
        let asked = carry(&mut pace, Way::In, later, 300, Duration::ZERO);
        assert_eq!(carry(&mut pace, Way::Out, asked, 300, Duration::ZERO) - later, ROUND_TRIP);
    }

    #[test]
    fn without_a_rate_everything_passes_at_once() {
        let (mut pace, opened) = pace(None);
        assert_eq!(
            pace.grant(Way::In, opened + 2 * ROUND_TRIP, usize::MAX),
            Err(opened + ROUND_TRIP * 5 / 2)
        );
        assert_eq!(pace.grant(Way::In, opened + 3 * ROUND_TRIP, usize::MAX), Ok(usize::MAX));
    }

    #[test]
    fn the_rate_is_kept_to_a_hundredth_also_by_one_who_comes_late() {
        for late in [0, 300, 20_000, 200_000].map(Duration::from_micros) {
            let (mut pace, opened) = pace(Some(RATE));
            let began = opened + ROUND_TRIP * 3 / 2;
            let took = carry(&mut pace, Way::In, opened, RATE as usize, late) - began;
            let off = took.as_secs_f64() - 1.0;
            assert!(off.abs() < 0.01 + late.as_secs_f64(), "{took:?} with {late:?}");
        }
    }

    #[test]
    fn time_in_which_nothing_came_is_not_saved_up() {
        let (mut pace, opened) = pace(Some(RATE));
        let first = carry(&mut pace, Way::In, opened, 1_000_000, Duration::ZERO);
        let later = first + Duration::from_secs(10);
        pace.held_up(first);
        let took = carry(&mut pace, Way::In, later, RATE as usize, Duration::ZERO) - later;
        assert!(took.as_secs_f64() > 0.99, "{took:?}");
    }

    #[test]
    fn what_we_were_late_ourselves_is_made_up_for_though_nothing_is_left_when_we_come() {
        let (mut pace, opened) = pace(Some(RATE));
        let late = carry(&mut pace, Way::In, opened, 1_000_000, Duration::ZERO) + Duration::from_millis(100);
        assert!(pace.grant(Way::In, late, 1_000_000).unwrap() >= 1_000_000);
        pace.passed(1_000_000);
        pace.held_up(late);
        let took =
            carry(&mut pace, Way::In, late + Duration::from_millis(10), 19_000_000, Duration::ZERO) - late;
        assert!((took.as_secs_f64() - 0.91).abs() < 0.01, "a second less what we were late: {took:?}");
    }

    #[test]
    fn a_small_message_waits_for_no_timer_beside_the_distance() {
        let (mut pace, opened) = pace(Some(RATE));
        let asked = carry(&mut pace, Way::In, opened, 2_000, Duration::ZERO);
        assert_eq!(asked - opened, ROUND_TRIP * 3 / 2);
    }
}
