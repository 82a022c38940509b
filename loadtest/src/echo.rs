//! A server that parses nothing: the ceiling that a real one on the same runtime is measured against.
//!
//! It counts bytes: each [`Work::matched_length`] bytes are a question, which it answers with what callgate would, by turns an
//! admission and a release. So it reads and writes the very bytes of callgate's work, and decides nothing.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::drive::Work;

/// Serves until the process ends; tells the address that it got to `told`.
///
/// # Errors
/// The address can't be bound.
pub fn serve(address: SocketAddr, told: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        told(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that fails ends; the others don't care.
            tokio::spawn(async move { answer(stream).await });
        }
    })
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let length = Work::matched_length();
    let (mut input, mut output) = (vec![0; 64 * 1024], Vec::with_capacity(64 * 1024));
    let (mut begun, mut turn) = (0, 0);
    loop {
        let count = stream.read(&mut input).await?;
        if count == 0 {
            return Ok(());
        }
        begun += count;
        output.clear();
        while begun >= length {
            begun -= length;
            output.extend_from_slice(Work::MATCHED_ANSWERS[turn].as_bytes());
            turn = 1 - turn;
        }
        stream.write_all(&output).await?;
    }
}
