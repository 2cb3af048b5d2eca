//! From one process of the platform to the next: the newer binary is started by the older one, gets its listening sockets
//! (SCM_RIGHTS, unix(7)) and serves on them, so no client ever finds them closed.
//!
//! Both talk over a pair of sockets, one end of which is the standard input of the newer one. Three words pass there: it is
//! `READY` to begin, the state is free (`GO`), it is `SERVING`. The end of the stream at any time is the end of the other.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Set for the newer process: its standard input leads to the older one.
pub const VARIABLE: &str = "HYTHE_TAKES_OVER";
/// Sockets that are handed over at once.
const MOST: usize = 16;
/// Bytes of their names.
const LONGEST: usize = 1024;

/// What one process says to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// The newer one: configuration and sockets are well, it waits for the state.
    Ready = b'r',
    /// The older one: nobody writes to the state any more.
    Go = b'g',
    /// The newer one: it answers.
    Serving = b's',
}

/// A process that will serve in place of this one.
pub struct Successor {
    stream: UnixStream,
    child: Child,
}

impl Successor {
    /// Starts `program` with the listening sockets, each under a name without spaces. Blocks for a moment.
    ///
    /// # Errors
    /// When it cannot be started or does not take them.
    pub fn start(program: &Path, words: &[OsString], sockets: &[(&str, &OwnedFd)]) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        #[expect(clippy::disallowed_methods, reason = "it is our own binary, with an argument vector")]
        let mut command = Command::new(program);
        let child = command.args(words).env(VARIABLE, "1").stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        let successor = Self { stream, child };
        successor.give(sockets)?;
        Ok(successor)
    }

    fn give(&self, sockets: &[(&str, &OwnedFd)]) -> io::Result<()> {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let names = names.join(" ");
        let sockets: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut buffer = SendAncillaryBuffer::new(&mut space);
        if !buffer.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("too many sockets"));
        }
        let sent = sendmsg(&self.stream, &[IoSlice::new(names.as_bytes())], &mut buffer, SendFlags::NOSIGNAL)?;
        if sent == names.len() { Ok(()) } else { Err(io::Error::other("the names of the sockets did not get through")) }
    }

    /// What is said beyond the three words is the callers' own.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&mut self, word: Word) -> io::Result<()> {
        self.stream.write_all(&[word as u8])
    }

    /// Blocks until it says so.
    ///
    /// # Errors
    /// When it says something else, nothing in time, or has ended.
    pub fn hear(&mut self, word: Word, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        heard(&mut self.stream, word)?;
        self.stream.set_read_timeout(None)
    }

    /// Ends it, before it was given the state.
    pub fn dismiss(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process whose place this one takes.
pub struct Predecessor {
    stream: UnixStream,
    sockets: Vec<(String, OwnedFd)>,
}

impl Predecessor {
    /// Over the standard input, which leads nowhere afterwards.
    pub fn meet() -> io::Result<Self> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let met = Self::over(stream)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(met)
    }

    fn over(stream: UnixStream) -> io::Result<Self> {
        let mut names = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut buffer = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut names)];
        let got = recvmsg(&stream, parts, &mut buffer, RecvFlags::CMSG_CLOEXEC)?;
        let mut sockets = Vec::new();
        for message in buffer.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                sockets.extend(rights);
            }
        }
        let names = std::str::from_utf8(&names[..got.bytes]).map_err(io::Error::other)?;
        let names: Vec<_> = names.split(' ').map(str::to_owned).collect();
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || names.len() != sockets.len() {
            return Err(io::Error::other("the sockets of the process before did not get through"));
        }
        Ok(Self { stream, sockets: names.into_iter().zip(sockets).collect() })
    }

    /// The listening socket of that name, once.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        let at = self.sockets.iter().position(|(known, _)| known == name)?;
        Some(TcpListener::from(self.sockets.swap_remove(at).1))
    }

    pub fn tell(&mut self, word: Word) -> io::Result<()> {
        self.stream.write_all(&[word as u8])
    }

    /// What is said beyond the three words is the callers' own.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Blocks until it says so, or has ended.
    pub fn hear(&mut self, word: Word) -> io::Result<()> {
        heard(&mut self.stream, word)
    }
}

fn heard(stream: &mut UnixStream, word: Word) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it has ended"),
        io::ErrorKind::WouldBlock => io::Error::other("it took too long"),
        _ => error,
    })?;
    if byte[0] == word as u8 { Ok(()) } else { Err(io::Error::other("it says what nobody expected")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("bound")
    }

    #[test]
    fn sockets_arrive_under_their_names_and_listen_on() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let child = Stdio::null();
        #[expect(clippy::disallowed_methods, reason = "a process that stands for the newer one")]
        let child = Command::new("true").stdin(child).spawn().expect("true");
        let mut older = Successor { stream: ours, child };
        let (one, two) = (listener(), listener());
        let addresses = [one.local_addr().expect("address"), two.local_addr().expect("address")];
        let (one, two) = (OwnedFd::from(one), OwnedFd::from(two));
        older.give(&[("proxy", &one), ("api", &two)]).expect("given");
        drop((one, two));
        let mut newer = Predecessor::over(theirs).expect("met");
        assert!(newer.take("tls").is_none());
        let taken = ["proxy", "api"].map(|name| newer.take(name).expect("there"));
        assert_eq!(taken.each_ref().map(|socket| socket.local_addr().expect("address")), addresses);
        assert!(newer.take("api").is_none());
        let client = std::net::TcpStream::connect(addresses[1]).expect("it listens");
        assert_eq!(taken[1].accept().expect("accepted").1, client.local_addr().expect("address"));

        newer.tell(Word::Ready).expect("told");
        older.hear(Word::Ready, Duration::from_secs(30)).expect("heard");
        older.tell(Word::Go).expect("told");
        newer.hear(Word::Go).expect("heard");
        newer.tell(Word::Ready).expect("told");
        assert!(older.hear(Word::Serving, Duration::from_secs(30)).is_err());
        drop(newer);
        let fault = older.hear(Word::Serving, Duration::from_secs(30)).expect_err("the other has ended");
        assert_eq!(fault.to_string(), "it has ended");
        older.dismiss();
    }

    #[test]
    fn what_is_no_handing_over_is_none() {
        let (mut ours, theirs) = UnixStream::pair().expect("pair");
        ours.write_all(b"proxy").expect("written");
        assert!(Predecessor::over(theirs).is_err());
        let (ours, theirs) = UnixStream::pair().expect("pair");
        drop(ours);
        assert!(Predecessor::over(theirs).is_err());
    }
}
