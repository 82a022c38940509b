//! Which cores a process runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs this thread, and what it starts from now on, on one core only.
///
/// # Errors
/// The system refuses: there is no such core, or it is not ours.
pub fn to(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no such core"));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Does `action` on one core; what it starts stays there, this thread goes back to where it was.
///
/// # Errors
/// The system refuses, or the action fails.
pub fn during<T>(core: Option<usize>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(core) = core else { return action() };
    let before = sched_getaffinity(None)?;
    to(core)?;
    let done = action();
    sched_setaffinity(None, &before)?;
    done
}

/// The cores that this thread may run on.
#[must_use]
pub fn allowed() -> Vec<usize> {
    sched_getaffinity(None)
        .map_or_else(|_| Vec::new(), |set| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_for_a_while_and_free_again() {
        let before = allowed();
        let inside = during(before.last().copied(), || Ok(allowed())).unwrap();
        assert_eq!(inside, before.last().copied().into_iter().collect::<Vec<_>>());
        assert_eq!(allowed(), before);
        assert!(during(Some(CpuSet::MAX_CPU), || Ok(())).is_err());
    }
}
