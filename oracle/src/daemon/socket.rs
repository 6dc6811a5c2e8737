//! Requests over a Unix socket: one process of this machine asks another, both of the same operator.
//!
//! A frame is a length (4 bytes, big endian) and so many bytes of JSON; each request gets one answer, in order. The
//! socket's mode and the kernel's word about who is at the other end keep strangers out. Sizes, connections and times
//! are bounded.

use anyhow::{bail, Context};
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// The largest request.
pub const LARGEST_REQUEST: usize = 1024 * 1024;
/// The largest answer: a month of a band is some 700 kB, 2,048 fixings' announcements some 9 MB.
pub const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// Connections at one time.
const CONNECTIONS: usize = 64;
/// How long a request that has begun may take to arrive. Real time.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How often one who waits for an answer looks whether that is still of use. Real time.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a connection may be idle. Real time.
const IDLE: Duration = Duration::from_secs(600);

/// A listening socket.
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    allowed: Vec<u32>,
}

impl Door {
    /// Listens at `path`. The process's own user may ask, and so may `others` (user ids); for them the socket's group
    /// may open it.
    ///
    /// # Errors
    /// When somebody answers there already, or the socket cannot be made.
    pub fn open(path: &Path, others: &[u32]) -> anyhow::Result<Door> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            // A slip of the pen must not cost a key: only a socket is ever taken away.
            if !found.file_type().is_socket() {
                bail!("{} is there and is no socket; name a path for the socket that nothing has", path.display());
            }
            if BlockingStream::connect(path).is_ok() {
                bail!("another process answers at {}; only one may", path.display());
            }
            std::fs::remove_file(path).with_context(|| format!("take the old socket {} away", path.display()))?;
        }
        let listener = UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?;
        let mode = if others.is_empty() { 0o600 } else { 0o660 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        // The socket was just made by this process, so its owner is this process's user.
        let own = std::fs::metadata(path)?.uid();
        let allowed = std::iter::once(own).chain(others.iter().copied()).collect();
        Ok(Door { listener, path: path.to_owned(), allowed })
    }

    /// Answers requests with `answer`, which may block, until cancelled.
    pub async fn serve<F>(self, answer: F)
    where
        F: Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        let turns = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("{}: {error}", self.path.display());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if self.allowed.contains(&peer.uid()) => {}
                Ok(peer) => {
                    tracing::warn!("{}: user {} was turned away", self.path.display(), peer.uid());
                    continue;
                }
                Err(_) => continue,
            }
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                if let Err(error) = converse(stream, answer).await {
                    tracing::debug!("a caller went away: {error:#}");
                }
                drop(turn);
            });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse<F>(mut stream: UnixStream, answer: Arc<F>) -> anyhow::Result<()>
where
    F: Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
{
    loop {
        let mut length = [0; 4];
        match tokio::time::timeout(IDLE, stream.read_exact(&mut length)).await {
            Ok(Ok(_)) => {}
            // Idle for long, or hung up: both are how conversations end.
            Ok(Err(_)) | Err(_) => return Ok(()),
        }
        let length = usize::try_from(u32::from_be_bytes(length))?;
        if length == 0 || length > LARGEST_REQUEST {
            bail!("a request of {length} bytes");
        }
        let mut request = vec![0; length];
        tokio::time::timeout(ARRIVAL, stream.read_exact(&mut request)).await??;
        let answer = Arc::clone(&answer);
        let said = tokio::task::spawn_blocking(move || answer(&request)).await?;
        let length = u32::try_from(said.len())?.to_be_bytes();
        tokio::time::timeout(ARRIVAL, async {
            stream.write_all(&length).await?;
            stream.write_all(&said).await
        })
        .await??;
    }
}

/// The asking side of a connection. Blocks.
#[derive(Debug)]
pub struct Caller {
    stream: BlockingStream,
    patience: Duration,
}

/// A stream that is waited for until a moment, and no longer than that is of use.
struct Patient<'a> {
    stream: &'a BlockingStream,
    until: Instant,
    still: &'a dyn Fn() -> bool,
}

impl Patient<'_> {
    fn wait<T>(&self, mut once: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
        loop {
            match once() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= self.until || !(self.still)() {
                        return Err(std::io::Error::new(ErrorKind::TimedOut, "it does not answer in time"));
                    }
                }
                done => return done,
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let mut stream = self.stream;
        self.wait(|| stream.read(bytes))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut stream = self.stream;
        self.wait(|| stream.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Caller {
    /// Connects; an answer may take `patience`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(path: &Path, patience: Duration) -> anyhow::Result<Caller> {
        let stream = BlockingStream::connect(path).with_context(|| format!("nobody answers at {}", path.display()))?;
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(GLANCE))?;
        Ok(Caller { stream, patience })
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not understood; the connection is of no use then.
    pub fn ask<A: DeserializeOwned>(&mut self, request: &impl Serialize) -> anyhow::Result<A> {
        self.ask_while(request, self.patience, &|| true)
    }

    /// The same, waiting for `patience` and only as long as `still` says that there is hope.
    ///
    /// # Errors
    /// As [`Caller::ask`].
    pub fn ask_while<A: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
        patience: Duration,
        still: &dyn Fn() -> bool,
    ) -> anyhow::Result<A> {
        let until = Instant::now().checked_add(patience).context("wait so long")?;
        let mut stream = Patient { stream: &self.stream, until, still };
        let request = serde_json::to_vec(request)?;
        if request.len() > LARGEST_REQUEST {
            bail!("a request of {} bytes; at most {LARGEST_REQUEST} are sent", request.len());
        }
        stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
        stream.write_all(&request)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        if length > LARGEST_ANSWER {
            bail!("an answer of {length} bytes; at most {LARGEST_ANSWER} are read");
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        serde_json::from_slice(&answer).context("understand the answer")
    }
}

/// One request and its answer where nothing may block. The connection is made when there is none, and of no use after an
/// error.
///
/// # Errors
/// When nobody listens, the connection breaks or the answer is not understood; `WouldBlock` when too many wait there
/// already.
pub async fn ask_without_blocking<A: DeserializeOwned>(
    path: &Path,
    kept: &mut Option<UnixStream>,
    request: &impl Serialize,
) -> std::io::Result<A> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => UnixStream::connect(path).await?,
    };
    let too_long = |_| std::io::Error::new(ErrorKind::InvalidData, "too long");
    let request = serde_json::to_vec(request)?;
    stream.write_all(&u32::try_from(request.len()).map_err(too_long)?.to_be_bytes()).await?;
    stream.write_all(&request).await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LARGEST_REQUEST {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "a long answer to a short question"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    let answer = serde_json::from_slice(&answer)?;
    *kept = Some(stream);
    Ok(answer)
}

/// The id of a user by its number or its name in `/etc/passwd`.
///
/// # Errors
/// When there is no such user.
pub fn user_id(user: &str) -> anyhow::Result<u32> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let mut entries = passwd.lines().map(|line| line.split(':'));
    entries
        .find_map(|mut entry| (entry.next()? == user).then(|| entry.nth(1)?.parse().ok())?)
        .with_context(|| format!("there is no user {user:?}; make it, or give its number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_old_socket_is_taken_away_and_nothing_else_ever_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.age");
        std::fs::write(&path, "a key").unwrap();
        let refused = Door::open(&path, &[]).err().unwrap().to_string();
        assert!(refused.contains("is no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a key");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Door::open(&link, &[]).is_err() && link.exists());

        let socket = folder.path().join("signer.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(socket.exists(), "a killed process leaves its socket");
        let door = Door::open(&socket, &[]).unwrap();
        assert!(Door::open(&socket, &[]).err().unwrap().to_string().contains("only one may"));
        drop(door);
    }
}
