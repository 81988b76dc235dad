//! Connections that can be cut from within an answer, and listeners that can be closed for a while.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::TICK;
use crate::sandbox::link::{Link, Linked};
use crate::sandbox::process::{Host, Service};

/// Cuts one connection.
#[derive(Clone, Debug, Default)]
pub struct Scissors(Arc<AtomicBool>);

impl Scissors {
    /// Makes the connection end with a reset at whatever it sends next.
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A connection and what cuts it.
pub struct Line {
    stream: Linked,
    scissors: Scissors,
}

/// A service's listener, which takes no connections while the fault plan says so.
pub struct Lines {
    service: Service,
    host: Arc<Host>,
    address: SocketAddr,
    listener: Option<TcpListener>,
    link: Option<Link>,
    plan_changed: watch::Receiver<()>,
}

impl Lines {
    /// Listens for a service of a world, which lies behind a link or right here.
    pub fn of(
        host: Arc<Host>,
        service: Service,
        listener: TcpListener,
        link: Option<Link>,
    ) -> io::Result<Self> {
        let (address, plan_changed) = (listener.local_addr()?, host.faults.changes());
        Ok(Self { service, host, address, listener: Some(listener), link, plan_changed })
    }

    fn is_closed(&self) -> bool {
        self.service != Service::Admin && self.host.faults.is_closed(self.service, self.host.clock.now())
    }
}

impl Listener for Lines {
    type Io = Line;
    type Addr = Scissors;

    async fn accept(&mut self) -> (Line, Scissors) {
        loop {
            if self.is_closed() {
                // Only a port that nobody listens on refuses.
                self.listener = None;
                tokio::time::sleep(TICK).await;
                continue;
            }
            let Some(listener) = &self.listener else {
                self.listener = TcpListener::bind(self.address).await.ok();
                tokio::time::sleep(TICK).await;
                continue;
            };
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (stream, scissors) = (Linked::new(stream, self.link), Scissors::default());
                        return (Line { stream, scissors: scissors.clone() }, scissors);
                    }
                    // What the other side did wrong is no reason to stop; too many open files may pass.
                    Err(_) => tokio::time::sleep(TICK).await,
                },
                // The next round sees whether that closes this one.
                _ = self.plan_changed.changed() => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<Scissors> {
        Ok(Scissors::default())
    }
}

impl Connected<IncomingStream<'_, Lines>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.remote_addr().clone()
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        if line.scissors.0.load(Ordering::SeqCst) {
            line.stream.end_with_reset();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut line.stream).poll_write_vectored(cx, bufs)
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
