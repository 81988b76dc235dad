//! A modelled way to Dropbox's content host: how far away it is, and how wide each connection to it.
//!
//! Loopback has neither distance nor width, so nothing measured on it says what a transfer costs over a
//! network. Both are real time, not the world's: a stopwatch beside the client must be able to see them.

mod pace;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use self::pace::{Pace, Way};

/// A way over a network. Written as `rtt=30ms,rate=20MB`; either part may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The time there and back: opening a connection costs one, and so does each request with its answer.
    pub round_trip: Duration,
    /// The most bytes per second of one connection, each way.
    pub rate: Option<u64>,
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut link = Self::default();
        let (mut far, mut narrow) = (false, false);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("rtt", time)) if !far => {
                    far = true;
                    link.round_trip = self::time(time)?;
                }
                Some(("rate", bytes)) if !narrow => {
                    narrow = true;
                    link.rate = Some(self::rate(bytes)?);
                }
                _ => return Err(format!("`{part}` is neither `rtt=TIME` nor `rate=BYTES`, or comes twice")),
            }
        }
        Ok(link)
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rtt={}ms", self.round_trip.as_secs_f64() * 1000.0)?;
        self.rate.map_or(Ok(()), |rate| write!(f, ",rate={}kB", rate as f64 / 1000.0))
    }
}

/// Reads `30ms` or `0.5s`.
fn time(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time such as `30ms` or `0.5s`");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').ok_or_else(refused)?, 1.0),
    };
    let seconds = number.parse::<f64>().map_err(|_| refused())? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| time.as_secs() < 60).ok_or_else(refused)
}

/// Reads `20MB`, `500kB` or `1GB`: bytes per second.
fn rate(text: &str) -> Result<u64, String> {
    let refused = || format!("`{text}` is no number of bytes per second such as `20MB` or `500kB`");
    let units = [("kB", 1e3), ("MB", 1e6), ("GB", 1e9)];
    let split = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (number, unit) = split.ok_or_else(refused)?;
    let bytes = number.parse::<f64>().map_err(|_| refused())? * unit;
    (1e3..=1e12).contains(&bytes).then_some(bytes as u64).ok_or_else(refused)
}

/// A connection as its client would see it over a link; without one, as it is.
pub struct Linked {
    stream: TcpStream,
    pace: Option<Pace>,
    reading: Alarm,
    writing: Alarm,
}

impl Linked {
    /// Takes a connection that was opened just now.
    pub fn new(stream: TcpStream, link: Option<Link>) -> Self {
        // A small piece must not wait until the one before it is acknowledged.
        let _ = stream.set_nodelay(true);
        let pace = link.map(|link| Pace::opening(link, Instant::now()));
        Self { stream, pace, reading: Alarm::default(), writing: Alarm::default() }
    }

    /// Makes its end a reset.
    pub fn end_with_reset(&self) {
        // Closing with nothing allowed to linger is what sends one.
        let _ = self.stream.set_zero_linger();
    }
}

/// Wakes one half of a connection.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until bytes that are there may pass; returns how many.
    fn room(&mut self, cx: &mut Context<'_>, pace: &mut Pace, way: Way, there: usize) -> Poll<usize> {
        loop {
            match pace.grant(way, Instant::now(), there) {
                Ok(count) => return Poll::Ready(count),
                Err(moment) => ready!(self.wait(cx, moment)),
            }
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>, moment: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(moment)));
        if sleep.deadline() != moment {
            sleep.as_mut().reset(moment);
        }
        sleep.as_mut().poll(cx)
    }
}

impl AsyncRead for Linked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, pace, reading, .. } = self.get_mut();
        let Some(pace) = pace else { return Pin::new(stream).poll_read(cx, buf) };
        if !pace.goes_on(Way::In) {
            // A turn begins when its first byte is here, not when somebody starts to wait for it.
            ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])))?;
        }
        let room = ready!(reading.room(cx, pace, Way::In, buf.remaining()));
        let before = buf.filled().len();
        let read = if room >= buf.remaining() {
            Pin::new(stream).poll_read(cx, buf)
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
            let read = Pin::new(stream).poll_read(cx, &mut part);
            let count = part.filled().len();
            buf.advance(count);
            read
        };
        pace.passed(buf.filled().len() - before);
        if read.is_pending() {
            pace.held_up(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Linked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, pace, writing, .. } = self.get_mut();
        let Some(pace) = pace else { return Pin::new(stream).poll_write_vectored(cx, bufs) };
        let there = bufs.iter().map(|buf| buf.len()).sum();
        let room = ready!(writing.room(cx, pace, Way::Out, there));
        let written = if room >= there {
            Pin::new(stream).poll_write_vectored(cx, bufs)
        } else {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            Pin::new(stream).poll_write(cx, &first[..first.len().min(room)])
        };
        match written {
            Poll::Ready(Ok(count)) => pace.passed(count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => pace.held_up(Instant::now()),
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_link_reads_as_it_is_written() {
        let ms = Duration::from_millis;
        for (text, round_trip, rate) in [
            ("rtt=30ms,rate=20MB", ms(30), Some(20_000_000)),
            ("rate=500kB", ms(0), Some(500_000)),
            ("rtt=1.5s", ms(1500), None),
        ] {
            let link = Link { round_trip, rate };
            assert_eq!(text.parse(), Ok(link), "{text}");
            assert_eq!(link.to_string().parse(), Ok(link), "{link}");
        }
    }

    #[test]
    fn what_is_no_link_is_refused_with_the_part_that_is_wrong() {
        for wrong in ["", "30ms", "rtt=30", "rtt=-1s", "rtt=NaNs", "rtt=9999s", "rate=20", "rate=0MB"] {
            let why = wrong.parse::<Link>().unwrap_err();
            let part = wrong.split_once('=').map_or(wrong, |(_, value)| value);
            assert!(why.starts_with(&format!("`{part}`")), "{wrong}: {why}");
        }
        assert!("rtt=1s,rtt=2s".parse::<Link>().unwrap_err().starts_with("`rtt=2s`"));
    }

    /// Asks for as many bytes as are told, twice over one connection; returns how long each answer took.
    async fn two_answers(link: Link, bytes: usize) -> [Duration; 2] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut linked = Linked::new(listener.accept().await.unwrap().0, Some(link));
        tokio::spawn(async move {
            while linked.read_u8().await.is_ok() {
                linked.write_all(&vec![7; bytes]).await.unwrap();
            }
        });
        let mut took = [Duration::ZERO; 2];
        for took in &mut took {
            let began = Instant::now();
            client.write_u8(1).await.unwrap();
            client.read_exact(&mut vec![0; bytes]).await.unwrap();
            *took = began.elapsed();
        }
        took
    }

    #[tokio::test]
    async fn no_answer_comes_sooner_than_the_distance_allows() {
        let round_trip = Duration::from_millis(40);
        let [first, second] = two_answers(Link { round_trip, rate: None }, 1).await;
        // The opening began a moment before the first request.
        assert!(first >= 2 * round_trip - Duration::from_millis(10), "{first:?}");
        assert!(second >= round_trip, "{second:?}");
    }

    #[tokio::test]
    async fn no_answer_comes_faster_than_the_link_is_wide() {
        let link = Link { round_trip: Duration::ZERO, rate: Some(10_000_000) };
        for took in two_answers(link, 1_000_000).await {
            assert!(took >= Duration::from_millis(97), "{took:?}");
        }
    }
}
