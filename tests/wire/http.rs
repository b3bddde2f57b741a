//! HTTP/1.1 as bytes: messages are cut out of a stream and handed on as they came.

use std::io::{self, BufRead};

/// One request or answer, exactly as it came.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// First line and headers, with the empty line that ends them.
    pub head: String,
    /// Everything behind the head, as it was framed.
    pub body: Vec<u8>,
    /// Whether the sender closes the connection behind it.
    pub is_last: bool,
}

impl Message {
    /// Value of a header; names are compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Status of an answer; 0 in a request.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }
}

/// Which side sent a message: without a length, a request has no body and an answer lasts until its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// Reads one message; None if the stream ends before its first byte.
pub fn read(stream: &mut impl BufRead, side: Side) -> io::Result<Option<Message>> {
    let mut message = Message::default();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return if message.head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        message.head.push_str(std::str::from_utf8(&line).map_err(io::Error::other)?);
        if line == b"\r\n" {
            break;
        }
    }
    let is_chunked = message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length = message.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let is_old = side == Side::Server && message.head.starts_with("HTTP/1.0");
    message.is_last = is_old || message.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    match (is_chunked, length, side) {
        (true, ..) => chunks(stream, &mut message.body)?,
        (_, Some(length), _) => {
            message.body = vec![0; length];
            stream.read_exact(&mut message.body)?;
        }
        (_, None, Side::Client) => {}
        (_, None, Side::Server) => {
            stream.read_to_end(&mut message.body)?;
            message.is_last = true;
        }
    }
    Ok(Some(message))
}

/// Reads a chunked body with its frames; no client or cloud here sends trailers.
fn chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let begin = body.len();
        stream.read_until(b'\n', body)?;
        let text = std::str::from_utf8(&body[begin..]).map_err(io::Error::other)?;
        let size = text.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        // The chunk and the line break behind it; the last one is empty.
        let end = body.len();
        body.resize(end + size + 2, 0);
        stream.read_exact(&mut body[end..])?;
        if size == 0 {
            return Ok(());
        }
    }
}
