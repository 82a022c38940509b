//! The datagram front end: UDP and Unix datagram sockets on the reactors that also serve RESP.
//!
//! A wake-up takes what waits, up to a bound, by one look at the clock; all its requests are decided in batches whichever
//! datagram they came in, and each datagram is answered by one of its own, many in one system call. Taking is a call for
//! each datagram: what takes several at once is nothing that this program can do without unsafe code.
//!
//! What must stay true: nobody's answer waits for another's reader. An answer that can't be sent at once is given up and
//! counted, and its client asks again.
//!
//! Where this stops: what a Unix client has not read yet is held in the sender's buffer, which all clients of that socket
//! share. The system bounds it for each client but one that has connected its socket: such a one that asks and never
//! reads uses the buffer up, and the others' answers are given up, until it reads or ends. A Unix datagram socket is for
//! clients that trust one another; its mode says which those are. UDP has no such bound to share.

mod session;
mod socket;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketAddrAny;
use smallvec::SmallVec;

pub(super) use socket::BoundDatagram;

use self::session::Session;
use self::socket::{Came, DatagramSocket};
use super::shared::Shared;
use crate::codec::datagram::DATAGRAM_BYTES_MAX;
use crate::shell::telemetry::{DroppedDatagram, FrontEnd};

/// Datagrams of one wake-up, before others of the reactor have their turn.
const TAKEN_TOGETHER: usize = 64;

/// Bytes of one wake-up.
const TAKEN_BYTES: usize = 64 * 1024 + DATAGRAM_BYTES_MAX;

/// Wake-ups that still empty the sockets when the front ends stop.
const LAST_ROUNDS: usize = 256;

/// One datagram of a wake-up: where its bytes are, where its answers are, and where they go.
struct Taken {
    bytes: Range<usize>,
    answers: Range<usize>,
    from: SocketAddrAny,
}

/// A socket's buffers, used between two waits only.
struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
    taken: Vec<Taken>,
}

/// Serves one socket until the front ends stop, and then what it still holds.
pub(super) async fn serve(shared: Arc<Shared>, socket: BoundDatagram) -> io::Result<()> {
    let socket = socket.into_async()?;
    let mut scratch = Scratch { input: vec![0; TAKEN_BYTES], output: Vec::new(), taken: Vec::new() };
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            ready = socket.readable() => ready?,
        }
        match round(&shared, &socket, &mut scratch) {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                tracing::warn!(%error, "can't take datagrams");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    for _ in 0..LAST_ROUNDS {
        if !round(&shared, &socket, &mut scratch)? {
            break;
        }
    }
    Ok(())
}

/// Takes, decides, answers. `false`: nothing was there.
fn round(shared: &Shared, socket: &DatagramSocket, scratch: &mut Scratch) -> io::Result<bool> {
    let Scratch { input, output, taken } = scratch;
    output.clear();
    taken.clear();
    let counters = shared.context.counters.datagrams();
    let front = shared.context.counters.front(FrontEnd::Datagram);
    let (mut at, mut came) = (0, 0);
    while came < TAKEN_TOGETHER
        && let Some(free) = input.get_mut(at..at + DATAGRAM_BYTES_MAX)
    {
        let Came { bytes, cut, from } = match socket.receive(free) {
            Ok(Some(came)) => came,
            Ok(None) => break,
            // An earlier answer's receiver is gone: nothing that came is concerned.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) if came == 0 => return Err(error),
            Err(_) => break,
        };
        came += 1;
        if cut {
            counters.drop_one(DroppedDatagram::TooLong);
        }
        match from {
            Some(from) => taken.push(Taken { bytes: at..at + bytes, answers: 0..0, from }),
            None => counters.drop_one(DroppedDatagram::Anonymous),
        }
        at += bytes;
    }
    counters.received.add(u64::try_from(came).unwrap_or(0));
    front.bytes_in.add(u64::try_from(at).unwrap_or(0));
    // Read after the datagrams were: a clock older than a raise of a limit would admit too much.
    let mut session = Session::new(shared, shared.context.clock.now());
    for datagram in taken.iter_mut() {
        let begin = output.len();
        session.take(input.get(datagram.bytes.clone()).unwrap_or_default(), output);
        datagram.answers = begin..output.len();
    }
    session.end(output);
    let answers: SmallVec<[(&SocketAddrAny, &[u8]); TAKEN_TOGETHER]> = taken
        .iter()
        .filter(|datagram| !datagram.answers.is_empty())
        .map(|datagram| (&datagram.from, output.get(datagram.answers.clone()).unwrap_or_default()))
        .collect();
    let sent = socket.send_all(&answers);
    counters.sent.add(u64::try_from(sent).unwrap_or(0));
    for _ in sent..answers.len() {
        counters.drop_one(DroppedDatagram::Unsent);
    }
    let bytes = answers.iter().take(sent).map(|(_, answer)| answer.len()).sum::<usize>();
    front.bytes_out.add(u64::try_from(bytes).unwrap_or(0));
    Ok(came > 0)
}
