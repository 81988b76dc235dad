//! The wire between a laptop and an instance: carries bytes, and breaks or slows down when asked to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::sandbox::clock::{Clock, later};
use crate::sandbox::server::{Moment, SshFaults};

/// How many bytes are taken at once.
const PIECE: usize = 16 * 1024;

/// How many pieces may be under way; a slower reader holds up the writer.
const UNDER_WAY: usize = 64;

/// How often the sandbox's clock is looked at: it may jump.
const LOOK: Duration = Duration::from_millis(20);

/// Carries bytes between a client and a server until both have ended, or until a fault ends it.
///
/// `met` is what the connection met when it began; a later plan replaces it unless that one counts
/// connections, of which this is none.
pub async fn carry(
    mut client: TcpStream,
    server: UnixStream,
    met: &SshFaults,
    mut plans: watch::Receiver<Arc<SshFaults>>,
    clock: &Clock,
) {
    let valve = Valve::new(met, clock);
    let (mut client_reads, mut client_writes) = client.split();
    let (mut server_reads, mut server_writes) = server.into_split();
    let both = async {
        tokio::join!(
            pump(&mut client_reads, &mut server_writes, &valve),
            pump(&mut server_reads, &mut client_writes, &valve)
        );
    };
    let end = tokio::select! {
        () = both => return,
        end = valve.ending(&mut plans, clock) => end,
    };
    if end == End::Stall {
        // The client hears nothing more, not even that the server has left; the server hears nothing either.
        swallow(&mut client_reads).await;
    }
}

/// How a fault ends the flow of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Stall,
}

/// What lets bytes through, for both directions.
struct Valve {
    state: Mutex<State>,
    /// Wakes whoever looks for the end.
    looked_for: Notify,
}

/// The faults in force and how far the connection is.
#[derive(Clone)]
struct State {
    cut: Option<Moment>,
    stall: Option<Moment>,
    bytes_per_second: Option<u64>,
    delay: Duration,
    passed: u64,
    since: Timestamp,
}

impl State {
    fn new(faults: &SshFaults, since: Timestamp) -> Self {
        let SshFaults { cut, stall, bytes_per_second, delay_ms, .. } = *faults;
        let delay = Duration::from_millis(delay_ms.unwrap_or_default());
        Self { cut, stall, bytes_per_second, delay, passed: 0, since }
    }

    /// Returns how many bytes may still pass.
    fn room(&self) -> u64 {
        let limits = [self.cut, self.stall].into_iter().flatten().filter_map(|moment| match moment {
            Moment { after_bytes: None, after_seconds: None } => Some(0),
            Moment { after_bytes, .. } => after_bytes,
        });
        limits.min().map_or(u64::MAX, |limit| limit.saturating_sub(self.passed))
    }

    /// Returns how the flow has ended by now, if it has.
    fn end(&self, now: Timestamp) -> Option<End> {
        let come = |moment: Option<Moment>| {
            moment.is_some_and(|Moment { after_bytes, after_seconds }| {
                let bytes = after_bytes.is_some_and(|bytes| self.passed >= bytes);
                let seconds = after_seconds.is_some_and(|seconds| now >= later(self.since, seconds));
                bytes || seconds || (after_bytes.is_none() && after_seconds.is_none())
            })
        };
        match (come(self.cut), come(self.stall)) {
            (true, _) => Some(End::Cut),
            (false, true) => Some(End::Stall),
            (false, false) => None,
        }
    }

    fn is_timed(&self) -> bool {
        [self.cut, self.stall].into_iter().flatten().any(|moment| moment.after_seconds.is_some())
    }
}

impl Valve {
    fn new(faults: &SshFaults, clock: &Clock) -> Self {
        Self { state: Mutex::new(State::new(faults, clock.now())), looked_for: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many bytes are taken at once: few on a slow line, where they pass evenly.
    fn piece(&self) -> usize {
        let tenth = self.lock().bytes_per_second.map(|rate| usize::try_from(rate / 10).unwrap_or(PIECE));
        tenth.unwrap_or(PIECE).clamp(1, PIECE)
    }

    /// Counts bytes and returns how many of them pass; fewer than all means that the flow ends.
    fn let_through(&self, count: usize) -> usize {
        let mut state = self.lock();
        let passing = count.min(usize::try_from(state.room()).unwrap_or(usize::MAX));
        state.passed += passing as u64;
        passing
    }

    /// Has the end looked for when no byte may pass any more; the last ones must be written by then.
    fn written(&self) {
        if self.lock().room() == 0 {
            self.looked_for.notify_one();
        }
    }

    /// Waits for the flow's end and follows plans that are made meanwhile.
    async fn ending(&self, plans: &mut watch::Receiver<Arc<SshFaults>>, clock: &Clock) -> End {
        loop {
            let (end, timed) = {
                let state = self.lock();
                (state.end(clock.now()), state.is_timed())
            };
            if let Some(end) = end {
                return end;
            }
            tokio::select! {
                () = self.looked_for.notified() => {}
                () = tokio::time::sleep(LOOK), if timed => {}
                Ok(()) = plans.changed() => {
                    let plan = plans.borrow_and_update().clone();
                    if plan.connections.is_none() {
                        *self.lock() = State::new(&plan, clock.now());
                    }
                }
            }
        }
    }
}

/// Carries one direction to its end, each byte as late and as slowly as the valve says.
async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), valve: &Valve) {
    let (send, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let take = async move {
        loop {
            let mut piece = vec![0; valve.piece()];
            // A connection that breaks has ended.
            let count = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(count);
            if count == 0 || send.send((Instant::now(), piece)).await.is_err() {
                return;
            }
        }
    };
    let give = async {
        while let Some((taken, piece)) = under_way.recv().await {
            let (delay, rate) = {
                let state = valve.lock();
                (state.delay, state.bytes_per_second)
            };
            tokio::time::sleep_until(taken + delay).await;
            let passing = valve.let_through(piece.len());
            if to.write_all(&piece[..passing]).await.is_err() {
                return;
            }
            valve.written();
            if passing < piece.len() {
                std::future::pending::<()>().await;
            }
            if let Some(rate) = rate {
                tokio::time::sleep(Duration::from_secs_f64(passing as f64 / rate.max(1) as f64)).await;
            }
        }
    };
    tokio::select! {
        () = give => {}
        // The giver ends after the last piece, and the taker only before it.
        () = async { take.await; std::future::pending().await } => {}
    }
    // The other side may have left.
    to.shutdown().await.ok();
}

/// Reads to the end and keeps nothing.
async fn swallow(from: &mut (impl AsyncRead + Unpin)) {
    let mut lost = vec![0; PIECE];
    while from.read(&mut lost).await.is_ok_and(|count| count > 0) {}
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::sandbox::server::Plan;

    /// A client and a server at the ends of a link.
    async fn ends(faults: SshFaults, plan: &Plan, clock: &Clock) -> (TcpStream, UnixStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (inner, server) = UnixStream::pair().unwrap();
        let (plans, clock) = (plan.watch(), clock.clone());
        tokio::spawn(async move { carry(accepted, inner, &faults, plans, &clock).await });
        (client, server)
    }

    fn stopped_clock() -> Clock {
        Clock::starting("2026-11-23T10:00:00Z".parse().unwrap(), 0.0)
    }

    fn after_bytes(count: u64) -> Option<Moment> {
        Some(Moment { after_bytes: Some(count), after_seconds: None })
    }

    async fn all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let mut got = Vec::new();
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut got)).await.unwrap().unwrap();
        got
    }

    #[tokio::test]
    async fn bytes_and_both_ends_of_file_come_through() {
        let (mut client, mut server) = ends(SshFaults::default(), &Plan::default(), &stopped_clock()).await;
        client.write_all(&[7; 300_000]).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(all(&mut server).await.len(), 300_000);
        server.write_all(b"late").await.unwrap();
        drop(server);
        assert_eq!(all(&mut client).await, b"late");
    }

    #[tokio::test]
    async fn a_cut_lets_exactly_so_many_bytes_through() {
        let faults = SshFaults { cut: after_bytes(5), ..SshFaults::default() };
        let (mut client, mut server) = ends(faults, &Plan::default(), &stopped_clock()).await;
        client.write_all(b"abcdefgh").await.unwrap();
        assert_eq!(all(&mut server).await, b"abcde");
        assert_eq!(all(&mut client).await, b"");
    }

    #[tokio::test]
    async fn a_stalled_link_says_nothing_even_when_the_server_has_left() {
        let faults = SshFaults { stall: after_bytes(3), ..SshFaults::default() };
        let (mut client, mut server) = ends(faults, &Plan::default(), &stopped_clock()).await;
        server.write_all(b"abcdef").await.unwrap();
        let mut got = [0; 3];
        client.read_exact(&mut got).await.unwrap();
        drop(server);
        let more = tokio::time::timeout(Duration::from_millis(100), client.read(&mut got)).await;
        assert!(more.is_err(), "{more:?}");
        client.write_all(b"is anybody there").await.unwrap();
    }

    #[tokio::test]
    async fn the_sandbox_clock_ends_it_and_a_new_plan_reaches_open_links() {
        let (plan, clock) = (Plan::default(), stopped_clock());
        let (mut client, mut server) = ends(SshFaults::default(), &plan, &clock).await;
        let counted =
            SshFaults { connections: Some(1), cut: Some(Moment::default()), ..SshFaults::default() };
        plan.set(counted);
        server.write_all(b"still").await.unwrap();
        let mut got = [0; 5];
        client.read_exact(&mut got).await.unwrap();
        let moment = Moment { after_bytes: None, after_seconds: Some(60.0) };
        plan.set(SshFaults { cut: Some(moment), ..SshFaults::default() });
        // The plan may be heard of before or after the jump; it counts from when it is.
        let ended = async {
            loop {
                clock.jump(60.0);
                let mut one = [0; 1];
                if let Ok(end) = tokio::time::timeout(LOOK, client.read(&mut one)).await {
                    return end.unwrap();
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_slow_and_long_line_takes_its_time() {
        let faults = SshFaults { bytes_per_second: Some(10_000), delay_ms: Some(50), ..SshFaults::default() };
        let (mut client, mut server) = ends(faults, &Plan::default(), &stopped_clock()).await;
        let since = Instant::now();
        client.write_all(&[1; 2_000]).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(all(&mut server).await.len(), 2_000);
        assert!(since.elapsed() >= Duration::from_millis(200), "{:?}", since.elapsed());
    }
}
