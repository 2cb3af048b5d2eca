//! From streams of the engine to blobs of the store and back; every stream is read once and never held whole.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;

use super::Source;
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::machinery::image::{BlobStore, Digest, ImageError, Layer, LayerRules, write_layer};
use crate::machinery::runtime::ByteStream;

/// Pieces of a stream that wait for their reader.
const AHEAD: usize = 8;

#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Refused {
    pub fn is_disk_full(&self) -> bool {
        let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        match self {
            Self::Io(error) => full(error),
            Self::Image(ImageError::Store { source, .. }) => full(source),
            Self::Image(_) => false,
        }
    }
}

/// How a tar stream becomes what is in the store: `write_layer`, `slices::writer`.
pub(super) trait Write<T>:
    FnOnce(&BlobStore, Pieces, &LayerRules) -> Result<T, ImageError> + Send + 'static
{
}

impl<T, F: FnOnce(&BlobStore, Pieces, &LayerRules) -> Result<T, ImageError> + Send + 'static> Write<T> for F {}

/// The stream as a layer.
pub(super) async fn layer(blobs: &BlobStore, tar: ByteStream, rules: LayerRules) -> Result<Layer, Refused> {
    stored(blobs, tar, rules, write_layer).await
}

pub(super) async fn stored<T: Send + 'static>(
    blobs: &BlobStore,
    mut tar: ByteStream,
    rules: LayerRules,
    write: impl Write<T>,
) -> Result<T, Refused> {
    let (to, writer) = start(blobs, rules, write);
    while let Some(piece) = tar.next().await {
        let broken = piece.is_err();
        // A writer that has refused the tree does not read on.
        if to.send(piece).await.is_err() || broken {
            break;
        }
    }
    drop(to);
    finished(writer).await
}

/// Layers in the making, of what is sent.
pub(super) fn start<T: Send + 'static>(
    blobs: &BlobStore,
    rules: LayerRules,
    write: impl Write<T>,
) -> (mpsc::Sender<io::Result<Bytes>>, JoinHandle<Result<T, ImageError>>) {
    let (to, pieces) = mpsc::channel(AHEAD);
    let blobs = blobs.clone();
    let reader = Pieces { pieces, now: Bytes::new() };
    (to, tokio::task::spawn_blocking(move || write(&blobs, reader, &rules)))
}

pub(super) async fn finished<T>(writer: JoinHandle<Result<T, ImageError>>) -> Result<T, Refused> {
    Ok(writer.await.map_err(io::Error::other)??)
}

/// What `source` writes, on a thread of its own, as a stream.
pub(super) fn streamed(source: Source) -> ByteStream {
    let (to, from) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(64 << 10, Sending(to.clone()));
        if let Err(error) = source(&mut out).and_then(|()| io::Write::flush(&mut out)) {
            // Whoever reads no more wants to hear no more.
            let _ = to.blocking_send(Err(error));
        }
    });
    stream::unfold(from, |mut from| async move { from.recv().await.map(|piece| (piece, from)) }).boxed()
}

/// A reader for a thread that may block, and the work that feeds it: to be awaited beside it.
pub(super) fn readable(mut stream: ByteStream) -> (impl Future<Output = ()>, impl Read + Send) {
    let (to, pieces) = mpsc::channel(AHEAD);
    let feed = async move {
        while let Some(piece) = stream.next().await {
            if to.send(piece).await.is_err() {
                break;
            }
        }
    };
    (feed, Pieces { pieces, now: Bytes::new() })
}

struct Sending(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stored layer as a stream.
pub(super) fn stream(blobs: &BlobStore, layer: &Digest) -> Result<ByteStream, ImageError> {
    let file = blobs.open_blob(layer)?;
    Ok(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10).boxed())
}

pub(super) struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.now = piece?,
                None => return Ok(0),
            }
        }
        let length = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// Now, as files are stamped.
pub(super) fn file_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now().0).unwrap_or_default())
}

/// Writes beside the place and renames into it.
pub(super) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut file, content)?;
    file.persist(path)?;
    Ok(())
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
