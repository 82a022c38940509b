//! What the operating system says about this process, and with whom it ends.

use rustix::process::{Resource, Signal, getppid, getrlimit, set_parent_process_death_signal};

/// The environment variable by which a process tells its children that they end when it ends: its process id.
pub const ENDS_WITH: &str = "CALLGATE_ENDS_WITH";

/// Lets the kernel end this process when its parent ends, even by `kill -9`, if the parent asked for it by [`ENDS_WITH`]. The
/// parent is the thread that started this process.
///
/// # Errors
/// If the parent is gone already, or the kernel refuses.
pub fn end_with_parent() -> Result<(), String> {
    let Some(parent) = std::env::var_os(ENDS_WITH) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    // It may have ended before the kernel knew.
    let now = getppid().map(|parent| parent.as_raw_nonzero().to_string());
    if now.is_some_and(|now| parent == *now) {
        return Ok(());
    }
    Err(format!("the process that started this one is gone ({ENDS_WITH} is {})", parent.display()))
}

/// This process at one instant. A value that cannot be read is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessView {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The most file descriptors that may be open.
    pub max_fds: u64,
    /// Processor time used, user and system, in seconds.
    pub cpu_seconds: f64,
}

/// Reads it from `/proc/self`.
#[must_use]
pub fn view() -> ProcessView {
    ProcessView {
        resident_bytes: resident_bytes().unwrap_or(0),
        open_fds: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(0)),
        max_fds: getrlimit(Resource::Nofile).current.unwrap_or(0),
        cpu_seconds: cpu_seconds(),
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes.saturating_mul(1_024))
}

#[expect(clippy::as_conversions, reason = "seconds and nanoseconds to a float for display")]
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_open_files() {
        let view = view();
        assert!(view.resident_bytes > 100_000, "{view:?}");
        assert!(view.open_fds >= 3 && view.max_fds >= view.open_fds, "{view:?}");
    }
}
