//! The stream under an HTTP connection: it tells the sweeper what the connection waits for.

use std::io::{Error, ErrorKind, Result};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::peers::{Peer, Reading, Wait};
use super::super::shared::Shared;
use super::{Origin, refused_head};

/// A stream that writes down what it waits for.
#[derive(Debug)]
pub(super) struct GuardedIo {
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    origin: Origin,
    /// Since when the client has been reading what hyper wants to write.
    reading: Option<Reading>,
    /// What is left to write of an answer that takes the place of hyper's.
    instead: Option<Bytes>,
}

impl GuardedIo {
    pub(super) const fn new(peer: Arc<Peer>, shared: Arc<Shared>, origin: Origin) -> Self {
        Self { peer, shared, origin, reading: None, instead: None }
    }

    fn waits(&self, wait: Wait) {
        self.peer.waits(wait, self.origin.peers(&self.shared).coarse());
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        loop {
            match self.peer.stream.poll_writable(context) {
                Poll::Pending => {
                    let now = self.origin.peers(&self.shared).coarse();
                    let since = self.reading.get_or_insert_with(|| Reading::begun(now)).since();
                    self.peer.waits(Wait::Reader, since);
                    return Poll::Pending;
                }
                Poll::Ready(ready) => ready?,
            }
            match self.peer.stream.try_write(bytes) {
                Ok(0) if !bytes.is_empty() => return Poll::Ready(Err(Error::from(ErrorKind::WriteZero))),
                Ok(written) => {
                    let now = self.origin.peers(&self.shared).coarse();
                    if let Some(reading) = &mut self.reading {
                        reading.took(written, now);
                    }
                    self.waits(if self.peer.is_streaming() { Wait::Us } else { Wait::Request });
                    let counters = self.shared.context.counters.front(self.origin.front());
                    counters.bytes_out.add(u64::try_from(written).unwrap_or(0));
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.peer.stream.poll_readable(context))?;
            match self.peer.stream.try_read_buf(buffer) {
                Ok(read) => {
                    if read > 0 && self.peer.waiting() == Wait::Request {
                        self.waits(Wait::Rest);
                    }
                    let counters = self.shared.context.counters.front(self.origin.front());
                    counters.bytes_in.add(u64::try_from(read).unwrap_or(0));
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Some(mut instead) = self.instead.take().or_else(|| refused_head::answer(bytes)) else {
            return self.poll_bytes(context, bytes);
        };
        while !instead.is_empty() {
            match self.poll_bytes(context, &instead) {
                Poll::Ready(Ok(written)) => instead.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some(instead);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        // hyper comes here when it has written all it had.
        self.reading = None;
        if self.peer.waiting() == Wait::Request {
            // The answer has left, and no byte of the next request came.
            self.origin.peers(&self.shared).hold(&self.peer, 0);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        self.peer.stream.shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
