//! Accepts connections until the front ends stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::socket::{Listener, Stream};

/// Accepts until `stop`; each stream goes to `take`. What the system can't give now (no file descriptor is left, for
/// instance) is tried again after a pause, so that a reactor doesn't spin.
pub(super) async fn forever(listener: &Listener, stop: &CancellationToken, take: &impl Fn(Stream)) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(stream) => take(stream),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// The connection was gone before it was accepted: the next one is not concerned.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
