//! One node with the same words on one machine: the name by which two of them find each other.
//!
//! It is the name of a socket in the kernel, made of the secret key, and goes when the process does. Everybody on the
//! machine reads it while a node has it, and can hold it once that node is gone. So who holds it is asked to prove that it
//! is a node with these words, as this one proves to whoever asks. What runs as another user and proves nothing is none as
//! far as anybody can tell: the node starts without the name, tells of it, and takes it once it is free. Who that is says the
//! kernel, of a connection to it; nothing else that it or others make is looked at. `key_file.rs` keeps the nodes of one user
//! apart meanwhile.
//!
//! It never shows the key, nor anything by which the name or the proofs could be made.

use super::data::config_path;
use crate::wallet::Seed;
use anyhow::Context;
use bip39::Mnemonic;
use bitcoin::hashes::{sha256, Hash, HashEngine, Hmac, HmacEngine};
use bitcoin::Network;
use rand::RngCore;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

/// How long who holds the name has to prove what it is; and after so long it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions of one starting node.
const PAUSE: Duration = Duration::from_millis(100);
/// How long who connects has to ask.
const SILENT: Duration = Duration::from_secs(2);
/// Connections at once; the oldest gives way to a new one.
const MOST: usize = 64;

/// The name, or that it will be taken. Given back when this is dropped.
pub(super) struct KeyLock {
    trouble: watch::Receiver<Option<String>>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl KeyLock {
    /// Takes the name; where a program of another user holds it that does not prove itself, as soon as it is free. Blocks,
    /// for some seconds where nothing is proved.
    ///
    /// # Errors
    /// When another node with these words runs on this machine, or may, as the same user.
    pub(super) fn take(words: &Mnemonic, network: Network) -> anyhow::Result<KeyLock> {
        Key::of(words, network)?.take()
    }

    /// As [`KeyLock::take`], as if this process ran as another user than it does.
    #[cfg(test)]
    pub(super) fn take_as_another(words: &Mnemonic, network: Network) -> anyhow::Result<KeyLock> {
        Key::of(words, network)?.of_another().take()
    }

    /// Holds the name, and answers nobody.
    #[cfg(test)]
    pub(super) fn hold(words: &Mnemonic, network: Network) -> std::os::unix::net::UnixListener {
        Key::of(words, network).unwrap().listener()
    }

    /// Who holds the name in this node's stead, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        self.stop = None;
        // The name is free once the thread has ended.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name, and what proves that a node has these words.
struct Key {
    /// As the system takes it: what is no file begins with a zero.
    name: String,
    secret: Zeroizing<[u8; 32]>,
    /// Whom this process runs as.
    user: u32,
    patience: Duration,
}

/// What came of asking for the name.
enum Claim {
    Taken(UnixListener),
    /// A node with these words has it, or what cannot be told from one.
    Node(Option<i32>),
    /// Another program.
    Other(Option<Holder>),
}

/// The process that holds the name, as the system says it.
#[derive(Clone, Copy)]
struct Holder {
    process: Option<i32>,
    user: u32,
}

impl From<UCred> for Holder {
    fn from(who: UCred) -> Holder {
        // One of another world of processes has the number 0.
        Holder { process: who.pid().filter(|id| *id > 0), user: who.uid() }
    }
}

/// Is who holds the name to be taken for a node with these words? One of the same user may be of a version that proves
/// nothing, or be stopped; who is root may be anything.
fn is_node(proves: bool, holder: Option<u32>, user: u32) -> bool {
    proves || holder == Some(user)
}

impl Key {
    fn of(words: &Mnemonic, network: Network) -> anyhow::Result<Key> {
        let identity = Seed::from_mnemonic(words, network)?.node_identity()?;
        let made = |tag: &[u8]| {
            let mut engine = sha256::Hash::engine();
            engine.input(tag);
            engine.input(network.to_string().as_bytes());
            engine.input(&identity.secret_bytes());
            // A test plays two machines on one.
            #[cfg(feature = "faults")]
            engine.input(std::env::var("HYPOTHEC_OTHER_MACHINE").unwrap_or_default().as_bytes());
            sha256::Hash::from_engine(engine)
        };
        Ok(Key {
            name: format!("\0hypothec/{}", made(b"hypothec/one-node-a-machine/v0")),
            secret: Zeroizing::new(made(b"hypothec/one-node-a-machine/proof/v0").to_byte_array()),
            user: rustix::process::geteuid().as_raw(),
            patience: PATIENCE,
        })
    }

    /// A thread of its own: whoever has the lock may block, and the proof is given all the same.
    fn take(self) -> anyhow::Result<KeyLock> {
        let (first, answer) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (trouble, told) = watch::channel(None);
        let work = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    _ = stopped => (),
                    () = Arc::new(self).run(&first, &trouble) => (),
                }
            }),
            Err(error) => drop(first.send(Err(error.into()))),
        };
        let thread = thread::Builder::new().name("key-lock".into()).spawn(work).context("lock the key")?;
        let lock = KeyLock { trouble: told, stop: Some(stop), thread: Some(thread) };
        answer.recv().context("lock the key")??;
        Ok(lock)
    }

    /// Says by `first` whether the node may start; from then on until it is stopped, unless it may not.
    async fn run(self: Arc<Key>, first: &mpsc::Sender<anyhow::Result<()>>, trouble: &watch::Sender<Option<String>>) {
        let mut is_started = false;
        let listener = loop {
            let told = match self.claim().await {
                Ok(Claim::Taken(listener)) => break listener,
                Ok(Claim::Node(process)) if is_started => {
                    format!("{}: stop one of them at once; {HARM}", node(process))
                }
                Ok(Claim::Node(process)) => {
                    let stop =
                        process.map_or("stop it first".to_owned(), |id| format!("stop it first, with `kill {id}`"));
                    return drop(first.send(Err(anyhow::anyhow!("{}: {stop}; {HARM}", node(process)))));
                }
                Ok(Claim::Other(holder)) => other(holder),
                Err(error) if is_started => format!("lock of the key: {error}"),
                Err(error) => return drop(first.send(Err(anyhow::Error::new(error).context("lock the key")))),
            };
            if trouble.borrow().as_ref() != Some(&told) {
                tracing::warn!("{told}");
                trouble.send_replace(Some(told));
            }
            if !is_started {
                is_started = true;
                let _ = first.send(Ok(()));
            }
            sleep(self.patience).await;
        };
        if trouble.send_replace(None).is_some() {
            tracing::info!("lock of the key: the name is free, and taken");
        }
        if !is_started {
            let _ = first.send(Ok(()));
        }
        self.answer(listener).await;
    }

    /// Takes the name, or finds out who has it.
    async fn claim(&self) -> io::Result<Claim> {
        let began = Instant::now();
        let (mut holder, mut proves) = (None, false);
        loop {
            match UnixListener::bind(&self.name) {
                Ok(listener) => return Ok(Claim::Taken(listener)),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
                Err(_) => (),
            }
            let left = self.patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            // Its queue may be full, or it has died this moment.
            if let Ok(mut held) = UnixStream::connect(&self.name).await {
                holder = held.peer_cred().ok().map(Holder::from).or(holder);
                if let Ok(Ok(said)) = timeout(left, self.ask(&mut held)).await {
                    proves = said;
                    break;
                }
            }
            sleep(PAUSE).await;
        }
        // Who lets nobody connect is not named by the system: a list of all sockets has rows that another user wrote. A
        // stopped node of this user's is found by its file (`key_file.rs`).
        match is_node(proves, holder.map(|holder| holder.user), self.user) {
            true => Ok(Claim::Node(holder.and_then(|holder| holder.process))),
            false => Ok(Claim::Other(holder)),
        }
    }

    /// Does who holds the name prove that it has these words?
    async fn ask(&self, held: &mut UnixStream) -> io::Result<bool> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut nonce, mut proof) = ([0; 32], [0; 32]);
        rand::rngs::OsRng.fill_bytes(&mut nonce);
        held.write_all(&nonce).await?;
        held.read_exact(&mut proof).await?;
        Ok(proof == self.proof(&nonce))
    }

    fn proof(&self, nonce: &[u8; 32]) -> [u8; 32] {
        let mut engine = HmacEngine::<sha256::Hash>::new(&*self.secret);
        engine.input(nonce);
        Hmac::from_engine(engine).to_byte_array()
    }

    /// Proves to whoever asks that a node with these words runs.
    async fn answer(self: Arc<Key>, listener: UnixListener) {
        let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
        loop {
            let Ok((asker, _)) = listener.accept().await else {
                // Nothing can be opened at the moment.
                sleep(PAUSE).await;
                continue;
            };
            open.retain(|one| !one.is_finished());
            if open.len() >= MOST {
                if let Some(oldest) = open.pop_front() {
                    oldest.abort();
                }
            }
            let key = Arc::clone(&self);
            open.push_back(tokio::spawn(async move { drop(timeout(SILENT, key.prove(asker)).await) }));
            // Each is read from before it can have to give way.
            tokio::task::yield_now().await;
        }
    }

    async fn prove(&self, mut asker: UnixStream) -> io::Result<()> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut nonce = [0; 32];
        asker.read_exact(&mut nonce).await?;
        asker.write_all(&self.proof(&nonce)).await
    }
}

const HARM: &str = "two nodes on the same words harm each other";

/// That another process has a node on these words, and on which folder where the system says it.
fn node(process: Option<i32>) -> String {
    let Some(id) = process else { return "another node with the same words runs on this machine".into() };
    let place = folder_of(id).map_or("another data folder".to_owned(), |folder| {
        format!("the data folder {}", hypothec_oracle::foreign::printable(&folder.display().to_string()))
    });
    format!("another node with the same words runs on this machine, process {id} on {place}")
}

/// That a program which is no node holds the name.
fn other(holder: Option<Holder>) -> String {
    let who = match holder {
        Some(Holder { process: Some(id), user }) => format!("process {id} of user {user}"),
        Some(Holder { process: None, user }) => format!("a process of user {user}"),
        None => "a program that nobody can connect to (`ss -xap` names it to root)".into(),
    };
    format!(
        "lock of the key: {who} holds the name by which two nodes with the same words find each other on this machine, \
         and does not prove that it is one. The node runs without the name, and takes it as soon as it is free; until \
         then only the file lock of the key keeps a copy of its folder from running beside it, and only as the same user. If that process is a node with the same words, \
         of an older version under another user, stop one of the two at once; if not, find out who started it, and end \
         it: any user of the machine can take the name of a node that is off"
    )
}

/// What a process has open.
fn open_files(process: i32) -> impl Iterator<Item = PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
    open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok())
}

/// The folder whose lock a process holds, among the files that it has open.
fn folder_of(process: i32) -> Option<PathBuf> {
    let locks = open_files(process).filter(|file| file.ends_with("lock"));
    let mut folders = locks.filter_map(|lock| lock.parent().map(Path::to_owned));
    folders.find(|folder| config_path(folder).exists())
}

#[cfg(test)]
mod tests;
