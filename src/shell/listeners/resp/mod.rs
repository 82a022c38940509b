//! The RESP front end: reactor threads, each with a runtime of its own, that accept from the same sockets.
//!
//! A connection stays with the reactor that accepted it. What one `read()` brought is parsed as far as it goes, decided in
//! batches by one look at the clock, and answered by one write. The buffers belong to the reactor, so a connection that
//! has nothing half-read or half-written costs no more than its socket and a few hundred bytes.

mod connection;
mod info;
mod session;
mod slow;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::accept;
use super::shared::Shared;
use super::socket::{Bound, Stream};

/// Runs one reactor until the front ends stop and its connections have ended.
pub(super) async fn reactor(shared: Arc<Shared>, sockets: Vec<Bound>, sweeps: bool) -> io::Result<()> {
    let mut listeners = Vec::new();
    for socket in sockets {
        listeners.push(socket.into_listener()?);
    }
    if sweeps {
        tokio::spawn(Arc::clone(&shared.resp).sweep_forever());
    }
    for listener in listeners {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            let on_stream = |stream| take(&shared, stream);
            accept::forever(&listener, &stop, &on_stream).await;
        });
    }
    shared.stop.cancelled().await;
    while shared.resp.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn take(shared: &Arc<Shared>, stream: Stream) {
    match shared.resp.enter(stream) {
        Ok(entered) => {
            tokio::spawn(connection::serve(entered, Arc::clone(shared)));
        }
        Err(stream) => {
            // A full socket buffer of a new connection can't be; if it were, closing says enough.
            let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
        }
    }
}
