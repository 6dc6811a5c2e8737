//! What is in work on one connection: requests that are being answered, and answers that are still being sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, Sleep};

/// How long an answer may take to be read, once whoever asked lets it wait.
const READ: Duration = Duration::from_secs(20);

/// The work of one connection.
pub(in crate::api) struct Work(Mutex<State>);

struct State {
    answering: usize,
    is_sending: bool,
    /// Has whoever connected said anything yet?
    is_heard: bool,
    /// Has a request on it borne the token? Nobody else's keeps others out.
    bears_token: bool,
    is_ended: bool,
    /// Since when nothing is in work.
    since: Instant,
}

/// Whose turn it is to give way; the least first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_busy: bool,
    bears_token: bool,
    is_heard: bool,
    since: Instant,
}

impl State {
    fn is_idle(&self) -> bool {
        self.answering == 0 && !self.is_sending
    }

    fn may_end(&self) -> bool {
        self.is_idle() || !self.bears_token
    }
}

impl Work {
    /// Of a connection that has just been taken.
    pub(super) fn begun() -> Work {
        let (answering, is_sending, is_heard, bears_token, is_ended) = Default::default();
        Work(Mutex::new(State { answering, is_sending, is_heard, bears_token, is_ended, since: Instant::now() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever connected has said something: those that say nothing give way before it.
    fn heard(&self) {
        self.state().is_heard = true;
    }

    /// A request on it bore the token.
    pub(in crate::api) fn bears_token(&self) {
        self.state().bears_token = true;
    }

    /// When it gives way; `None` where something is in work of who bears the token.
    pub(super) fn rank(&self) -> Option<Rank> {
        let state = self.state();
        let State { bears_token, is_heard, since, .. } = *state;
        state.may_end().then(|| Rank { is_busy: !state.is_idle(), bears_token, is_heard, since })
    }

    /// Ends it, unless something is in work of who bears the token: nothing more begins on it.
    pub(super) fn end(&self) -> bool {
        let mut state = self.state();
        state.is_ended |= state.may_end();
        state.is_ended
    }

    /// All that was answered is sent.
    fn sent(&self) {
        if self.state().is_sending {
            self.change(|state| state.is_sending = false);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if state.is_idle() {
            state.since = Instant::now();
        }
    }
}

/// A request that is being answered, as long as it lives.
pub(super) struct UnderWay<'a>(&'a Work);

impl UnderWay<'_> {
    /// Nothing where the connection has given way.
    pub(super) fn begin(work: &Work) -> Option<UnderWay<'_>> {
        let mut state = work.state();
        if state.is_ended {
            return None;
        }
        state.answering = state.answering.saturating_add(1);
        Some(UnderWay(work))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // Its answer has yet to be sent.
        self.0.change(|state| {
            state.answering = state.answering.saturating_sub(1);
            state.is_sending = true;
        });
    }
}

/// A connection that knows what of an answer has not been sent yet, and waits for whoever reads it so long and no longer.
pub(super) struct Bounded {
    stream: TcpStream,
    work: Arc<Work>,
    /// When what waits to be read is late.
    late: Option<Pin<Box<Sleep>>>,
}

impl Bounded {
    pub(super) fn new(stream: TcpStream, work: Arc<Work>) -> Bounded {
        Bounded { stream, work, late: None }
    }

    /// Some of it was written, or has to wait.
    fn wrote(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            return wrote;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(READ)));
        ready!(late.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads the answer")))
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.work.heard();
        }
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked for once all of an answer is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.late = None;
        self.work.sent();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
