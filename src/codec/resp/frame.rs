//! Cuts one command out of the read buffer: an array of bulk strings, or an inline line.
//!
//! Stops at the command's end; gives no meaning to it. What must stay true: nothing is copied, a *claimed* length sizes
//! nothing, and input cut at any byte gives the same arguments as input in one piece.

use smallvec::SmallVec;

use super::super::excerpt::Excerpt;

/// The arguments of one command, borrowed from the read buffer. An ADMIT with every option fits without allocating.
pub type Args<'a> = SmallVec<[&'a [u8]; 32]>;

/// The longest line that carries a length: a sign, twenty digits, and the line's end are plenty.
const LENGTH_LINE_MAX: usize = 32;

/// The fewest bytes that one more element can have: `$0\r\n\r\n`.
const ELEMENT_BYTES_MIN: usize = 6;

/// What one command may weigh. Whatever goes beyond ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one bulk string.
    pub bulk_bytes_max: usize,
    /// Elements of one command.
    pub elements_max: usize,
    /// Bytes of one inline command, its line end included.
    pub inline_bytes_max: usize,
    /// Bytes of one whole command, as sent.
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bulk_bytes_max: 64 * 1024,
            elements_max: 1024,
            inline_bytes_max: 64 * 1024,
            request_bytes_max: 1024 * 1024,
        }
    }
}

/// How far [`next`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// One command is in the arguments (none for an empty line, which is nothing to answer).
    Complete {
        /// Bytes that it took from the buffer.
        consumed: usize,
    },
    /// The command's end isn't there yet.
    Incomplete {
        /// It can't be there before the buffer holds this many bytes: no need to look earlier. At most
        /// [`Limits::request_bytes_max`].
        needed: usize,
    },
}

/// What broke the protocol. The connection ends after it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Neither an array nor a line that begins like a command.
    #[error("a command begins with {found}; accepted are an array of bulk strings ('*') or a line of plain text")]
    NotACommand {
        /// The first byte.
        found: Excerpt,
    },
    /// The array's count isn't a number from 0 to the limit.
    #[error("array of {found} elements; accepted are 0 to {max}")]
    Elements {
        /// The count's text.
        found: Excerpt,
        /// The limit.
        max: usize,
    },
    /// An array within the array.
    #[error("an array inside a command; accepted are bulk strings only")]
    Nested,
    /// Another RESP type within the array.
    #[error("element begins with {found}; accepted is a bulk string ('$')")]
    NotABulk {
        /// The element's first byte.
        found: Excerpt,
    },
    /// `$-1`.
    #[error("a null bulk string inside a command; leave the argument out instead")]
    NullBulk,
    /// The bulk string's length isn't a number from 0 to the limit.
    #[error("bulk string of {found} bytes; accepted are 0 to {max}")]
    BulkLength {
        /// The length's text.
        found: Excerpt,
        /// The limit.
        max: usize,
    },
    /// A bulk string isn't followed by CR LF.
    #[error("bulk string is followed by {found}; accepted is CR LF: is its length wrong?")]
    BulkEnd {
        /// What stands there.
        found: Excerpt,
    },
    /// The command as a whole is too long.
    #[error("command of at least {found} bytes; accepted are at most {max}")]
    RequestTooLong {
        /// Bytes that it would have at least.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An inline command without an end.
    #[error("inline command without a line end in {found} bytes; accepted are at most {max}")]
    InlineTooLong {
        /// Bytes seen.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An inline command has more words than a command may have elements.
    #[error("inline command of more than {max} words")]
    InlineWords {
        /// The limit.
        max: usize,
    },
    /// A quote in an inline command that isn't closed, or that is followed by text, or that holds a backslash.
    #[error("unbalanced or escaped quotes in an inline command; send it as an array instead")]
    Quotes,
    /// A web browser or HTTP client talks to the wrong port.
    #[error("this is the RESP port; HTTP has a port of its own (7501 by default)")]
    Http,
}

/// A line that carries a length, or how it fails to.
enum Length {
    Value { value: usize, end: usize },
    Incomplete,
    Bad(Excerpt),
}

/// Reads the decimal number at `at`, up to CR LF. `end` is the position behind them.
#[inline]
fn length(input: &[u8], at: usize) -> Length {
    let mut value = 0_usize;
    let mut position = at;
    while let Some(&byte) = input.get(position) {
        if byte.is_ascii_digit() {
            // Nine digits are beyond every limit, and far from overflow.
            if position - at >= 9 {
                return bad_length(input, at);
            }
            value = value * 10 + usize::from(byte - b'0');
            position += 1;
        } else if byte == b'\r' && position > at {
            return match input.get(position + 1) {
                Some(b'\n') => Length::Value { value, end: position + 2 },
                Some(_) => bad_length(input, at),
                None => Length::Incomplete,
            };
        } else {
            return bad_length(input, at);
        }
    }
    Length::Incomplete
}

/// The text that stands where a length should, once its line is there or clearly too long.
#[cold]
fn bad_length(input: &[u8], at: usize) -> Length {
    let rest = input.get(at..).unwrap_or(&[]);
    let window = rest.get(..LENGTH_LINE_MAX).unwrap_or(rest);
    match memchr::memchr2(b'\r', b'\n', window) {
        Some(end) => Length::Bad(Excerpt::of(window.get(..end).unwrap_or(window))),
        None if rest.len() >= LENGTH_LINE_MAX => Length::Bad(Excerpt::of(window)),
        None => Length::Incomplete,
    }
}

/// Cuts the first command out of `input` into `args`, which is emptied first.
///
/// # Errors
/// If what is there can't become a command, or a limit is exceeded. The connection can't go on then.
#[inline]
pub fn next<'a>(input: &'a [u8], limits: &Limits, args: &mut Args<'a>) -> Result<Progress, ProtocolError> {
    args.clear();
    match input.first() {
        None => Ok(Progress::Incomplete { needed: 1 }),
        Some(b'*') => array(input, limits, args),
        Some(_) => inline(input, limits, args),
    }
}

#[inline]
fn array<'a>(input: &'a [u8], limits: &Limits, args: &mut Args<'a>) -> Result<Progress, ProtocolError> {
    let (count, mut at) = match length(input, 1) {
        Length::Value { value, end } if value <= limits.elements_max => (value, end),
        Length::Value { end, .. } => {
            let found = Excerpt::of(input.get(1..end.saturating_sub(2)).unwrap_or(&[]));
            return Err(ProtocolError::Elements { found, max: limits.elements_max });
        }
        Length::Bad(found) => return Err(ProtocolError::Elements { found, max: limits.elements_max }),
        Length::Incomplete => return Ok(Progress::Incomplete { needed: input.len() + 1 }),
    };
    for index in 0..count {
        let after = (count - index - 1) * ELEMENT_BYTES_MIN;
        let here = match input.get(at) {
            Some(b'$') => at + 1,
            Some(b'*') => return Err(ProtocolError::Nested),
            Some(byte) => return Err(ProtocolError::NotABulk { found: Excerpt::of(&[*byte]) }),
            None => return incomplete(at + ELEMENT_BYTES_MIN + after, limits),
        };
        let (size, start) = match length(input, here) {
            Length::Value { value, end } if value <= limits.bulk_bytes_max => (value, end),
            Length::Value { end, .. } => {
                let found = Excerpt::of(input.get(here..end.saturating_sub(2)).unwrap_or(&[]));
                return Err(ProtocolError::BulkLength { found, max: limits.bulk_bytes_max });
            }
            Length::Bad(found) if found == Excerpt::of(b"-1") => return Err(ProtocolError::NullBulk),
            Length::Bad(found) => return Err(ProtocolError::BulkLength { found, max: limits.bulk_bytes_max }),
            Length::Incomplete => return incomplete(input.len() + 1, limits),
        };
        let end = start + size;
        if end + 2 > limits.request_bytes_max {
            return Err(ProtocolError::RequestTooLong { found: end + 2, max: limits.request_bytes_max });
        }
        match (input.get(start..end), input.get(end..end + 2)) {
            (Some(bulk), Some(b"\r\n")) => args.push(bulk),
            (Some(_), Some(other)) => return Err(ProtocolError::BulkEnd { found: Excerpt::of(other) }),
            _ => return incomplete(end + 2 + after, limits),
        }
        at = end + 2;
    }
    if at > limits.request_bytes_max {
        return Err(ProtocolError::RequestTooLong { found: at, max: limits.request_bytes_max });
    }
    Ok(Progress::Complete { consumed: at })
}

const fn incomplete(needed: usize, limits: &Limits) -> Result<Progress, ProtocolError> {
    if needed > limits.request_bytes_max {
        return Err(ProtocolError::RequestTooLong { found: needed, max: limits.request_bytes_max });
    }
    Ok(Progress::Incomplete { needed })
}

fn inline<'a>(input: &'a [u8], limits: &Limits, args: &mut Args<'a>) -> Result<Progress, ProtocolError> {
    match input.first() {
        Some(byte) if byte.is_ascii_alphabetic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => {}
        Some(byte) => return Err(ProtocolError::NotACommand { found: Excerpt::of(&[*byte]) }),
        None => return Ok(Progress::Incomplete { needed: 1 }),
    }
    let max = limits.inline_bytes_max.min(limits.request_bytes_max);
    let window = input.get(..max).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', window) else {
        if input.len() >= max {
            return Err(ProtocolError::InlineTooLong { found: input.len(), max });
        }
        return Ok(Progress::Incomplete { needed: input.len() + 1 });
    };
    let line = input.get(..end).unwrap_or(&[]);
    words(line.strip_suffix(b"\r").unwrap_or(line), limits, args)?;
    if matches!(args.first(), Some(first) if is_http(first)) {
        return Err(ProtocolError::Http);
    }
    Ok(Progress::Complete { consumed: end + 1 })
}

/// A page in a browser can make it send such lines here: never take the rest of one for commands.
fn is_http(word: &[u8]) -> bool {
    let methods: [&[u8]; 7] = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"];
    methods.contains(&word) || word.eq_ignore_ascii_case(b"host:")
}

/// Splits a line at blanks. A word may stand in double or single quotes; escapes would need a copy, and are refused.
fn words<'a>(line: &'a [u8], limits: &Limits, args: &mut Args<'a>) -> Result<(), ProtocolError> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut rest = line;
    loop {
        rest = rest.get(rest.iter().take_while(|byte| blank(byte)).count()..).unwrap_or(&[]);
        let Some(&first) = rest.first() else { return Ok(()) };
        if args.len() == limits.elements_max {
            return Err(ProtocolError::InlineWords { max: limits.elements_max });
        }
        let quoted = matches!(first, b'"' | b'\'');
        let (word, after) = if quoted {
            let inside = rest.get(1..).unwrap_or(&[]);
            let close = memchr::memchr(first, inside).ok_or(ProtocolError::Quotes)?;
            let (word, after) = inside.split_at(close);
            (word, after.get(1..).unwrap_or(&[]))
        } else {
            rest.split_at(rest.iter().take_while(|byte| !blank(byte)).count())
        };
        let bad = if quoted {
            word.contains(&b'\\') || after.first().is_some_and(|byte| !blank(byte))
        } else {
            word.contains(&b'"')
        };
        if bad {
            return Err(ProtocolError::Quotes);
        }
        args.push(word);
        rest = after;
    }
}
