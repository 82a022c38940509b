//! The smallest RESP2 client that a test can trust: one connection, one command at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Option<String>),
    Array(Vec<Reply>),
}

impl Reply {
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other @ (Self::Status(_) | Self::Error(_) | Self::Bulk(_) | Self::Array(_)) => {
                panic!("no integer: {other:?}")
            }
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Status(text) | Self::Bulk(Some(text)) => text,
            other @ (Self::Integer(_) | Self::Error(_) | Self::Bulk(None) | Self::Array(_)) => {
                panic!("no text: {other:?}")
            }
        }
    }

    pub(crate) fn array(&self) -> &[Reply] {
        match self {
            Self::Array(items) => items,
            other @ (Self::Integer(_) | Self::Error(_) | Self::Bulk(_) | Self::Status(_)) => {
                panic!("no array: {other:?}")
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        self.send(words)?;
        self.read()
    }

    pub(crate) fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
        self.stream.get_mut().write_all(&request)
    }

    pub(crate) fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {line:?}"));
        let rest = line.get(1..).ok_or_else(bad)?.trim_end();
        let number = || rest.parse::<i64>().map_err(|_| bad());
        Ok(match line.as_bytes()[0] {
            b'+' => Reply::Status(rest.to_owned()),
            b'-' => Reply::Error(rest.to_owned()),
            b':' => Reply::Integer(number()?),
            b'$' => match usize::try_from(number()?) {
                Err(_) => Reply::Bulk(None),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Reply::Bulk(Some(String::from_utf8_lossy(&bytes).into_owned()))
                }
            },
            b'*' => Reply::Array((0..number()?).map(|_| self.read()).collect::<io::Result<_>>()?),
            _ => return Err(bad()),
        })
    }
}
