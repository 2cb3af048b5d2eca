//! A conversation with the driver inside a sandbox (`buildpacks/driver` describes the protocol). One exec serves many
//! phases; dropping the session hangs up, and the driver ends. What comes out is hostile: lengths are bounded, and a
//! frame that makes no sense ends the session.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::lines::Lines;
use super::mask::{Hidden, Mask};
use super::{BuildLog, Source, pack};
use crate::machinery::runtime::{Channel, Engine, EngineError, ExecSpec};

/// Of the files that describe a result.
const ANSWER_LIMIT: u64 = 8 << 20;
/// Of the head of a frame: name and length.
const HEAD_LIMIT: usize = 100;
/// The source goes to the sandbox in pieces, of this size first, so that unpacking begins early, then of more and more: the
/// driver starts a program for each.
const FIRST_PIECE: usize = 256 << 10;
const LARGEST_PIECE: usize = 2 << 20;
/// Starts the line on stderr that ends a phase.
const MARK: u8 = 0x1e;

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionFault {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the driver ended before its answer")]
    Ended,
    #[error("the driver's answer makes no sense: {0}")]
    Garbled(&'static str),
    #[error("it prints without end")]
    Flood,
    #[error("the source could not be read")]
    Source(#[source] io::Error),
}

pub(super) struct Request {
    pub phase: &'static str,
    pub fields: BTreeMap<String, String>,
    pub source: Option<Source>,
    /// What nobody reads in what it prints.
    pub hidden: Arc<Hidden>,
}

pub(super) struct Session {
    input: mpsc::Sender<io::Result<Bytes>>,
    output: mpsc::Receiver<Result<(Channel, Bytes), EngineError>>,
    frames: BytesMut,
    spoken: BytesMut,
    /// Moves the engine's streams; aborted with the session.
    _pump: JoinSet<()>,
}

/// Where the bytes of the `workspace` frame go; called when there is one.
pub(super) type Sink<'a> = &'a mut (dyn FnMut() -> mpsc::Sender<io::Result<Bytes>> + Send);

impl Session {
    pub async fn start(
        engine: &dyn Engine,
        sandbox: &str,
        variables: BTreeMap<String, String>,
    ) -> Result<Self, EngineError> {
        let (input, words) = mpsc::channel::<io::Result<Bytes>>(4);
        let stdin = futures_util::stream::unfold(words, |mut words| async { words.recv().await.map(|w| (w, words)) });
        let spec = ExecSpec {
            command: vec![pack::DRIVER.to_owned()],
            user: None,
            working_dir: Some("/".to_owned()),
            variables,
            stdin: Some(stdin.boxed()),
        };
        let mut exec = engine.exec(sandbox, spec).await?;
        let (heard, output) = mpsc::channel(16);
        let mut pump = JoinSet::new();
        pump.spawn(async move {
            while let Some(part) = exec.output.next().await {
                if heard.send(part).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { input, output, frames: BytesMut::new(), spoken: BytesMut::new(), _pump: pump })
    }

    /// Whether the driver was still there when last heard of.
    pub fn is_open(&self) -> bool {
        !self.output.is_closed() && !self.input.is_closed()
    }

    /// Runs one phase, which may print so many bytes, and gives its answer, a tar of small files. After a fault the session is
    /// of no use any more.
    pub async fn request(
        &mut self,
        request: Request,
        output_bytes: u64,
        log: &dyn BuildLog,
        sink: Sink<'_>,
    ) -> Result<Vec<u8>, SessionFault> {
        let token = uuid::Uuid::now_v7().simple().to_string();
        let mut words = BytesMut::new();
        for word in [request.phase, &token, &request.fields.len().to_string()] {
            put_word(&mut words, word);
        }
        for (key, value) in &request.fields {
            put_word(&mut words, key);
            put_word(&mut words, value);
        }
        self.input.send(Ok(words.freeze())).await.map_err(|_| SessionFault::Ended)?;

        let source = request.source.map(|source| {
            let input = self.input.clone();
            tokio::task::spawn_blocking(move || send_source(source, input))
        });
        let answered = self.listen(&token, output_bytes, Spoken::new(log, request.hidden), sink).await;
        if let Some(source) = source
            && let Err(error) = source.await.map_err(io::Error::other).flatten()
        {
            return Err(SessionFault::Source(error));
        }
        answered
    }

    /// Reads until the phase has ended on both channels.
    async fn listen(
        &mut self,
        token: &str,
        output_bytes: u64,
        mut spoken: Spoken<'_>,
        sink: Sink<'_>,
    ) -> Result<Vec<u8>, SessionFault> {
        let mut printed = 0;
        let mut reading = Reading::default();
        let mut spoken_out = false;
        while !(reading.ended && spoken_out) {
            let due = spoken.lines.due().map(tokio::time::Instant::from_std);
            let part = tokio::select! {
                part = self.output.recv() => part.ok_or(SessionFault::Ended)??,
                () = sleep_until(due) => {
                    spoken.lines.tick(Instant::now());
                    continue;
                }
            };
            match part {
                (Channel::Err, bytes) => {
                    printed += bytes.len() as u64;
                    if printed > output_bytes {
                        spoken.finish();
                        return Err(SessionFault::Flood);
                    }
                    self.spoken.extend_from_slice(&bytes);
                    spoken_out |= hear(&mut self.spoken, token, &mut spoken);
                }
                (Channel::Out, bytes) => {
                    self.frames.extend_from_slice(&bytes);
                    reading.take(&mut self.frames, sink).await?;
                }
            }
        }
        spoken.finish();
        Ok(reading.answer)
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn put_word(words: &mut BytesMut, word: &str) {
    // A word ends at a NUL, so it holds none: variables of a process cannot either.
    words.extend(word.bytes().filter(|&b| b != 0));
    words.extend_from_slice(&[0]);
}

/// Passes on what was said up to the phase's mark; true when the mark is there.
fn hear(heard: &mut BytesMut, token: &str, spoken: &mut Spoken<'_>) -> bool {
    loop {
        let Some(at) = heard.iter().position(|&b| b == MARK) else {
            spoken.push(heard);
            heard.clear();
            return false;
        };
        spoken.push(&heard[..at]);
        heard.advance(at);
        let Some(end) = heard.iter().position(|&b| b == b'\n') else {
            if heard.len() > HEAD_LIMIT {
                heard.advance(1);
                continue;
            }
            return false;
        };
        let is_ours = &heard[1..end] == token.as_bytes();
        heard.advance(if is_ours { end + 1 } else { 1 });
        if is_ours {
            return true;
        }
    }
}

/// What one phase says, on its way to who reads along.
struct Spoken<'a> {
    lines: Lines<'a>,
    mask: Mask,
}

impl<'a> Spoken<'a> {
    fn new(log: &'a dyn BuildLog, hidden: Arc<Hidden>) -> Self {
        Self { lines: Lines::new(log), mask: Mask::new(hidden) }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.lines.push(&self.mask.pass(bytes), Instant::now());
    }

    fn finish(&mut self) {
        self.lines.push(&self.mask.rest(), Instant::now());
        self.lines.finish(Instant::now());
    }
}

/// The frames of one phase.
#[derive(Default)]
struct Reading {
    answer: Vec<u8>,
    ended: bool,
    frame: Option<Frame>,
}

struct Frame {
    left: u64,
    /// None for the answer itself.
    to: Option<mpsc::Sender<io::Result<Bytes>>>,
}

impl Reading {
    async fn take(&mut self, bytes: &mut BytesMut, sink: Sink<'_>) -> Result<(), SessionFault> {
        loop {
            if let Some(frame) = &mut self.frame {
                let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                let piece = bytes.split_to(length);
                frame.left -= length as u64;
                match &frame.to {
                    None => self.answer.extend_from_slice(&piece),
                    // A reader that gave up has its own reason, which its owner learns.
                    Some(to) if length > 0 => drop(to.send(Ok(piece.freeze())).await),
                    Some(_) => {}
                }
                if frame.left > 0 {
                    return Ok(());
                }
                self.frame = None;
            }
            let Some(end) = bytes.iter().take(HEAD_LIMIT).position(|&b| b == b'\n') else {
                let fault = bytes.len() > HEAD_LIMIT;
                return if fault { Err(SessionFault::Garbled("a frame without a head")) } else { Ok(()) };
            };
            let head = bytes.split_to(end + 1);
            let head = std::str::from_utf8(&head).map_err(|_| SessionFault::Garbled("a head that is no text"))?;
            let (name, length) = head.trim_end().split_once(' ').ok_or(SessionFault::Garbled("a head of one word"))?;
            let left: u64 = length.parse().map_err(|_| SessionFault::Garbled("a length that is no number"))?;
            self.frame = match name {
                "end" => {
                    self.ended = true;
                    return Ok(());
                }
                "answer" if left <= ANSWER_LIMIT && self.answer.is_empty() => Some(Frame { left, to: None }),
                "answer" => return Err(SessionFault::Garbled("an answer beyond its bounds")),
                "workspace" => Some(Frame { left, to: Some(sink()) }),
                _ => return Err(SessionFault::Garbled("a frame of an unknown name")),
            };
        }
    }
}

/// Writes the source in pieces, each behind its length, and the end.
fn send_source(source: Source, input: mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut pieces = Pieces { input, piece: Vec::with_capacity(FIRST_PIECE), size: FIRST_PIECE, written: 0 };
    let result = source(&mut pieces).and_then(|()| pieces.flush_piece());
    // A driver that ended says so itself; the end of the source is sent in any case, so that it never waits.
    let ended = pieces.input.blocking_send(Ok(Bytes::from_static(b"0\n")));
    match (result, ended) {
        (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (result, _) => result,
    }
}

struct Pieces {
    input: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    /// Of this piece when it is whole.
    size: usize,
    written: u64,
}

impl Pieces {
    fn flush_piece(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.written += self.piece.len() as u64;
        let mut framed = BytesMut::with_capacity(self.piece.len() + 16);
        framed.extend_from_slice(format!("{}\n", self.piece.len()).as_bytes());
        framed.extend_from_slice(&self.piece);
        self.piece.clear();
        self.input.blocking_send(Ok(framed.freeze())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.size - self.piece.len();
        let taken = room.min(bytes.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == self.size {
            self.flush_piece()?;
            self.size = (self.size * 2).min(LARGEST_PIECE);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;
    impl BuildLog for Silent {
        fn line(&self, _: &str) {}
    }

    async fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), SessionFault> {
        let (to, mut from) = mpsc::channel(100);
        let mut reading = Reading::default();
        let mut bytes = BytesMut::new();
        for piece in pieces {
            bytes.extend_from_slice(piece);
            reading.take(&mut bytes, &mut || to.clone()).await?;
        }
        drop(to);
        let mut workspace = Vec::new();
        while let Ok(piece) = from.try_recv() {
            workspace.extend_from_slice(&piece.unwrap());
        }
        Ok((reading.answer, workspace, reading.ended))
    }

    #[tokio::test]
    async fn frames_survive_any_cut() {
        let whole = b"answer 3\nabcworkspace 5\n12345end 0\n";
        for cut in 1..whole.len() {
            let (answer, workspace, ended) = read(&[&whole[..cut], &whole[cut..]]).await.unwrap();
            assert_eq!((answer.as_slice(), workspace.as_slice(), ended), (&b"abc"[..], &b"12345"[..], true), "{cut}");
        }
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let long = [b'x'; 200];
        for bytes in [&b"answer 99999999999\n"[..], b"answer -1\n", b"other 1\nx", b"answer\n", b"\xff 1\n", &long] {
            assert!(read(&[bytes]).await.is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_phase_ends_at_its_own_mark_only() {
        let mut said = Spoken::new(&Silent, Arc::default());
        let mut heard = BytesMut::from(&b"said\n\x1eother\nmore\n\x1emi"[..]);
        assert!(!hear(&mut heard, "mine", &mut said));
        heard.extend_from_slice(b"ne\nrest");
        assert!(hear(&mut heard, "mine", &mut said));
        assert_eq!(&heard[..], b"rest");
    }
}
