//! The words between a client and a command whose streams it holds, over a connection that was upgraded from
//! HTTP/1.1 to `hythe-command/1` (RFC 9110 §7.8), or over a pipe inside this process.
//!
//! A frame is one byte of kind, four bytes of length (big-endian), and that many bytes; 64 KiB at most, 1 MiB for the
//! first. That is the client's, what to run, as the JSON of `AttachBody`: a request that switches protocols has no body.
//! The server answers that it runs, or with the JSON of a problem, and then nothing more. From then on the client sends
//! input, its end, the size of the terminal (columns and rows, two bytes each, big-endian), a signal (its name without
//! `SIG`); the server output, errors, and as the last one the exit: eight bytes of code, then why, if there is more to
//! say. Each side says `Alive` when it has been silent for 15 seconds, and gives the other up after a minute
//! without a word. A client that goes without the exit has let go of the command.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

pub const PROTOCOL: &str = "hythe-command/1";
/// Seconds of silence after which a side says that it is alive.
pub const ALIVE_SECONDS: u64 = 15;
/// Seconds without a word after which the other side is gone.
pub const GONE_SECONDS: u64 = 60;
/// Bytes of one frame's payload.
pub const LARGEST: usize = 64 << 10;
/// Bytes of what to run, as JSON, and of a refusal.
pub const LARGEST_DOCUMENT: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Input(Bytes),
    EndOfInput,
    Resize {
        columns: u16,
        rows: u16,
    },
    Signal(String),
    /// What to run.
    Start(Bytes),
    Started,
    /// Why it does not run.
    Refused(Bytes),
    Output(Bytes),
    Errors(Bytes),
    Exit {
        code: i64,
        reason: String,
    },
    Alive,
}

/// Both directions.
#[derive(Debug, Default)]
pub struct Frames;

const HEAD: usize = 5;

fn largest(kind: u8) -> usize {
    if matches!(kind, 4 | 20) { LARGEST_DOCUMENT } else { LARGEST }
}

fn wrong(text: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

impl Decoder for Frames {
    type Item = Frame;
    type Error = std::io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> std::io::Result<Option<Frame>> {
        let Some(head) = buffer.get(..HEAD) else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).unwrap_or(usize::MAX);
        if length > largest(head[0]) {
            return Err(wrong("a frame is too large"));
        }
        if buffer.len() < HEAD + length {
            buffer.reserve(HEAD + length - buffer.len());
            return Ok(None);
        }
        let kind = buffer[0];
        buffer.advance(HEAD);
        let mut rest = buffer.split_to(length).freeze();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let frame = match (kind, length) {
            (0, _) => Frame::Input(rest),
            (1, 0) => Frame::EndOfInput,
            (2, 4) => Frame::Resize { columns: rest.get_u16(), rows: rest.get_u16() },
            (3, 1..=20) => Frame::Signal(text(&rest)),
            (4, _) => Frame::Start(rest),
            (16, _) => Frame::Output(rest),
            (17, _) => Frame::Errors(rest),
            (18, 8..) => Frame::Exit { code: rest.get_i64(), reason: text(&rest) },
            (19, 0) => Frame::Started,
            (20, _) => Frame::Refused(rest),
            (32, 0) => Frame::Alive,
            _ => return Err(wrong("a frame of no known kind")),
        };
        Ok(Some(frame))
    }
}

impl Encoder<Frame> for Frames {
    type Error = std::io::Error;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> std::io::Result<()> {
        let (kind, rest): (u8, Bytes) = match frame {
            Frame::Input(bytes) => (0, bytes),
            Frame::EndOfInput => (1, Bytes::new()),
            Frame::Resize { columns, rows } => {
                let mut size = BytesMut::with_capacity(4);
                size.put_u16(columns);
                size.put_u16(rows);
                (2, size.freeze())
            }
            Frame::Signal(name) => (3, name.into()),
            Frame::Start(bytes) => (4, bytes),
            Frame::Started => (19, Bytes::new()),
            Frame::Refused(bytes) => (20, bytes),
            Frame::Output(bytes) => (16, bytes),
            Frame::Errors(bytes) => (17, bytes),
            Frame::Exit { code, reason } => {
                let mut exit = BytesMut::with_capacity(8 + reason.len());
                exit.put_i64(code);
                exit.put_slice(reason.as_bytes());
                (18, exit.freeze())
            }
            Frame::Alive => (32, Bytes::new()),
        };
        let length = u32::try_from(rest.len()).ok().filter(|_| rest.len() <= largest(kind));
        let length = length.ok_or_else(|| wrong("a frame is too large"))?;
        buffer.reserve(HEAD + rest.len());
        buffer.put_u8(kind);
        buffer.put_u32(length);
        buffer.put(rest);
        Ok(())
    }
}

/// Bytes in pieces that fit into frames.
pub fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = bytes.len().min(LARGEST);
        (length > 0).then(|| bytes.split_to(length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_however_the_bytes_arrive() {
        let all = [
            Frame::Input(Bytes::from_static(b"ls\n")),
            Frame::EndOfInput,
            Frame::Resize { columns: 100, rows: 30 },
            Frame::Signal("TERM".into()),
            Frame::Start(Bytes::from(vec![b' '; LARGEST + 1])),
            Frame::Started,
            Frame::Refused(Bytes::from_static(b"{}")),
            Frame::Output(Bytes::from(vec![0; LARGEST])),
            Frame::Errors(Bytes::new()),
            Frame::Exit { code: -3, reason: "out of memory".into() },
            Frame::Alive,
        ];
        let mut wire = BytesMut::new();
        for frame in all.clone() {
            Frames.encode(frame, &mut wire).expect("it fits");
        }
        let (mut arrived, mut heard) = (BytesMut::new(), Vec::new());
        for piece in wire.chunks(7) {
            arrived.extend_from_slice(piece);
            while let Some(frame) = Frames.decode(&mut arrived).expect("well said") {
                heard.push(frame);
            }
        }
        assert_eq!(heard, all);
    }

    #[test]
    fn nonsense_is_refused_before_it_is_held() {
        for bad in [
            &[0u8, 0, 1, 0, 1][..],
            &[0, 255, 255, 255, 255],
            &[99, 0, 0, 0, 0],
            &[2, 0, 0, 0, 1, 7],
            &[18, 0, 0, 0, 0],
        ] {
            assert!(Frames.decode(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
        assert!(Frames.encode(Frame::Input(Bytes::from(vec![0; LARGEST + 1])), &mut BytesMut::new()).is_err());
        let cut: Vec<_> = pieces(Bytes::from(vec![0; LARGEST + 1])).map(|piece| piece.len()).collect();
        assert_eq!(cut, [LARGEST, 1]);
    }
}
