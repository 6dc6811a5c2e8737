//! A throw-away PostgreSQL server: its own folder, its own port, gone afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // Test code throughout.
#![allow(dead_code)] // Each test file uses a part of it.

use rustix::process::{kill_process, Pid, Signal};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a fact: whoever waits leaves the processor to those it waits for.
const GLANCE: Duration = Duration::from_millis(5);

/// A running server.
pub struct Server {
    folder: tempfile::TempDir,
    child: Mutex<Child>,
    /// Where it listens on the loopback address.
    pub port: u16,
    databases: AtomicU32,
}

/// A program of the server, from the path or from where Debian puts it.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = installed.map(|version| version.path().join("bin").join(name));
    let mut found = on_path.chain(installed).filter(|path| path.is_file());
    found.next().unwrap_or_else(|| panic!("{name} is not installed: `apt-get install -y postgresql`"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL refuses to run as root.
fn command(name: &str) -> Command {
    let program = program(name);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn done(output: Output) -> String {
    let says = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success(), "{says}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port below the range of outgoing connections: while the server is down nobody else is given it.
fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(7_919);
    let ports = (0..4_000).map(|_| 6_000 + (first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 4_000) as u16);
    ports.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

impl Server {
    /// Starts one. `more` are settings such as `ssl=on`.
    pub fn start(more: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            done(Command::new("chown").arg("postgres:postgres").arg(folder.path()).output().unwrap());
        }
        let data = folder.path().join("data");
        let init = ["-A", "trust", "-U", "oracle", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        done(command("initdb").args(init).arg(&data).current_dir("/").output().unwrap());
        let port = port();
        let child = Mutex::new(Server::spawn(folder.path(), port, more));
        let server = Server { folder, child, port, databases: AtomicU32::new(0) };
        server.wait();
        server
    }

    /// The server that the tests of this process share, as long as one of them runs.
    pub fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn spawn(folder: &Path, port: u16, more: &[&str]) -> Child {
        let mut server = command("postgres");
        server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=60"].iter().chain(more) {
            server.args(["-c", setting]);
        }
        server.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn wait(&self) {
        let asked = Instant::now();
        while !self.psql("postgres", "select 1").status.success() {
            assert!(asked.elapsed() < PATIENCE, "the PostgreSQL server does not start");
            assert!(self.child.lock().unwrap().try_wait().unwrap().is_none(), "the PostgreSQL server ended");
            std::thread::sleep(GLANCE);
        }
    }

    fn psql(&self, database: &str, text: &str) -> Output {
        let port = self.port.to_string();
        let folder = self.folder.path().to_string_lossy();
        let place = ["-h", &folder, "-p", &port, "-U", "oracle", "-d", database, "-v", "ON_ERROR_STOP=1", "-Atc"];
        command("psql").args(place).arg(text).current_dir("/").output().unwrap()
    }

    /// Runs a statement as the owner and returns what it prints.
    pub fn sql(&self, database: &str, text: &str) -> String {
        done(self.psql(database, text)).trim().to_string()
    }

    /// What a statement that must fail says.
    pub fn sql_error(&self, database: &str, text: &str) -> String {
        let output = self.psql(database, text);
        assert!(!output.status.success(), "{text} was allowed");
        String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// A new, empty database.
    pub fn database(&self) -> String {
        let name = format!("oracle{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name}"));
        name
    }

    /// Its address, over the loopback interface.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://oracle@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it at once, as a power cut would end its processes, and starts it again.
    pub fn crash(&self) {
        let mut child = self.child.lock().unwrap();
        kill_process(Pid::from_child(&child), Signal::QUIT).unwrap();
        child.wait().unwrap();
    }

    /// Starts it again.
    pub fn restart(&self) {
        *self.child.lock().unwrap() = Server::spawn(self.folder.path(), self.port, &[]);
        self.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
        let _ = child.wait();
    }
}

/// A cable between a replica and the database that can be cut: then bytes vanish, and nobody is told.
pub struct Cable {
    /// Where the replica finds the database.
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Cable {
    /// One to a port of this machine.
    pub fn to(port: u16) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let cutting = Arc::clone(&cut);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let ways = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for (from, to) in ways {
                    let cut = Arc::clone(&cutting);
                    std::thread::spawn(move || carry(from, to, &cut));
                }
            }
        });
        Cable { address, cut }
    }

    /// Cuts it, or joins it again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 8_192];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !cut.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
