//! What systemd is told: ready, reloading, stopping, a status line, and that the process still lives. Without systemd all
//! of it does nothing.

use sd_notify::NotifyState;

/// Requests are answered from now on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic time for systemd; the reload is not announced"),
    }
}

/// The process stops, in so long at most.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The process lives: its slow path ran a round. Told each second, wanted within `WatchdogSec`.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(%error, "systemd was not told; the process goes on");
    }
}
