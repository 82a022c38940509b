//! One connection to a peer: a stream out, a stream in, datagrams.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connection, ConnectionError, RecvStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc::error::TrySendError;

use super::outbox::Outbox;
use super::{Close, LinkEvent, Shared};
use crate::cluster::{Frames, NodeName, WireError};
use crate::shell::clock::Clock;
use crate::shell::cluster::identity::{end_of, names_of};
use crate::units::{Tick, UnixMillis};

/// So many bytes are read at a time.
const READ_BYTES_MAX: usize = 16 * 1024;

/// One connection to a peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) peer: NodeName,
    pub(super) since: Tick,
    pub(super) certificate_ends: UnixMillis,
    pub(super) connection: Connection,
    pub(super) outbox: Outbox,
}

impl Link {
    /// A link over a connection that stands, to the peer that its certificate names; `None` if it names none.
    pub(super) fn new(shared: &Shared, connection: Connection) -> Option<Self> {
        let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let leaf = chain.first()?;
        let names = names_of(leaf)?;
        let [name] = names.as_slice() else { return None };
        Some(Self {
            number: shared.next_link(),
            peer: name.parse().ok()?,
            since: Clock.tick(),
            certificate_ends: end_of(leaf)?,
            connection,
            outbox: Outbox::default(),
        })
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(super) fn close(&self, why: Close) {
        self.connection.close(why.code(), why.text());
    }

    /// Runs until the connection ends. Says why.
    pub(super) async fn run(self: &Arc<Self>, shared: &Arc<Shared>) -> ConnectionError {
        if !shared.install(self).await {
            self.close(Close::Removed);
            return self.connection.closed().await;
        }
        let ended = tokio::select! {
            () = self.write(shared) => None,
            () = self.read(shared) => None,
            () = self.datagrams(shared) => None,
            ended = self.connection.closed() => Some(ended),
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                // With one of its ways gone it is of no use; most often it is closed already.
                self.close(Close::Garbled);
                self.connection.closed().await
            }
        };
        shared.remove(self, &ended.to_string()).await;
        ended
    }

    /// Ends when the connection does.
    async fn write(&self, shared: &Shared) {
        let Ok(mut stream) = self.connection.open_uni().await else { return };
        loop {
            let bytes = self.outbox.take().await;
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
            shared.counters.messages_sent.count();
        }
    }

    async fn read(&self, shared: &Shared) {
        let Ok(stream) = self.connection.accept_uni().await else { return };
        if let Err(error) = self.read_frames(shared, stream).await {
            shared.counters.garbled(&error);
            if shared.tell(format!("garbled {}", self.peer)) {
                tracing::warn!("{} ({}) sends what is no message: {error}", self.peer, self.remote());
            }
            self.close(Close::Garbled);
        }
    }

    /// # Errors
    /// If the stream can't be followed any more.
    async fn read_frames(&self, shared: &Shared, mut stream: RecvStream) -> Result<(), WireError> {
        let mut frames = Frames::new();
        while let Ok(Some(chunk)) = stream.read_chunk(READ_BYTES_MAX, true).await {
            frames.push(&chunk.bytes);
            while let Some(frame) = frames.next() {
                match frame {
                    Ok(message) => {
                        shared.counters.messages_received.count();
                        let event = LinkEvent::Message(self.peer.clone(), Box::new(message));
                        // A driver that is slow slows the peer down; one that is gone needs nothing.
                        if shared.events.send(event).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(error @ WireError::TooLong { .. }) => return Err(error),
                    // A later release says more than this one knows.
                    Err(error) => {
                        shared.counters.garbled(&error);
                        if shared.tell(format!("unread {} {}", self.peer, error.label())) {
                            tracing::warn!(
                                "{} ({}) sends a message that is ignored: {error}",
                                self.peer,
                                self.remote()
                            );
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn datagrams(&self, shared: &Shared) {
        while let Ok(bytes) = self.connection.read_datagram().await {
            shared.counters.datagrams_received.count();
            match shared.events.try_send(LinkEvent::Datagram(self.peer.clone(), bytes)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => shared.counters.datagrams_dropped.count(),
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }
}
