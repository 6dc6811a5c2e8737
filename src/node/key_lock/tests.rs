//! Programs that hold the name of a node's lock, and nodes that find each other by it.

use super::super::words::new_words;
use super::*;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as std_unix;
use std::sync::atomic::{AtomicBool, Ordering};

impl Key {
    /// As if this process ran as another user than it does, so that what it holds itself is another user's.
    pub(super) fn of_another(self) -> Key {
        Key { user: self.user.wrapping_add(1), patience: Duration::from_secs(1), ..self }
    }

    fn some() -> (Mnemonic, Key) {
        let words = new_words().unwrap();
        let key = Key::again(&words);
        (words, key)
    }

    fn again(words: &Mnemonic) -> Key {
        Key { patience: Duration::from_secs(1), ..Key::of(words, Network::Regtest).unwrap() }
    }

    fn bytes(&self) -> &[u8] {
        &self.name.as_bytes()[1..]
    }

    /// Holds the name, and answers each that connects by itself.
    fn held(&self, answer: impl Fn(&mut std_unix::UnixStream) + Send + 'static) {
        let listener = self.listener();
        thread::spawn(move || {
            for asker in listener.incoming() {
                answer(&mut asker.unwrap());
            }
        });
    }

    pub(super) fn listener(&self) -> std_unix::UnixListener {
        let address = std_unix::SocketAddr::from_abstract_name(self.bytes()).unwrap();
        std_unix::UnixListener::bind_addr(&address).unwrap()
    }

    fn connect(&self) -> std_unix::UnixStream {
        std_unix::UnixStream::connect_addr(&std_unix::SocketAddr::from_abstract_name(self.bytes()).unwrap()).unwrap()
    }

    /// Holds the name where nobody can connect: where it never listened, or its queue is full.
    fn shut(&self, is_full: bool) -> Vec<OwnedFd> {
        let address = SocketAddrUnix::new_abstract_name(self.bytes()).unwrap();
        let socket = || {
            let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
            rustix::net::socket_with(unix, stream, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None).unwrap()
        };
        let mut sockets = vec![socket()];
        rustix::net::bind(&sockets[0], &address).unwrap();
        if is_full {
            rustix::net::listen(&sockets[0], 0).unwrap();
            loop {
                let asker = socket();
                if rustix::net::connect(&asker, &address).is_err() {
                    break;
                }
                sockets.push(asker);
            }
        }
        sockets
    }

    fn refused(self) -> String {
        self.take().err().expect("it was refused").to_string()
    }
}

/// Waits until the name is the lock's.
fn taken(lock: &KeyLock) {
    let mut told = lock.trouble.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let free = async { timeout(Duration::from_secs(30), told.wait_for(Option::is_none)).await };
    runtime.block_on(free).expect("the name is free").unwrap();
}

/// What is told of a program that this process is, as seen by another user.
fn assert_told(lock: &KeyLock) {
    let told = lock.trouble().unwrap();
    let who = format!("process {} of user {} holds the name", std::process::id(), rustix::process::geteuid().as_raw());
    assert!(told.contains(&who) && told.contains("does not prove that it is one"), "{told}");
}

#[test]
fn who_holds_the_name_as_another_user_and_proves_nothing_keeps_no_node_from_starting_and_is_told_until_it_is_free() {
    let mut refused = 0;
    let (words, key) = Key::some();
    let silent = key.listener();
    let lock = key.of_another().take().inspect_err(|_| refused += 1).unwrap();
    assert_told(&lock);
    drop(silent);
    taken(&lock);
    // It is this node's now, and proves it to whomever.
    let said = Key::again(&words).of_another().refused();
    assert!(said.contains("same words runs on this machine"), "{said}");

    let answers: [fn(&mut std_unix::UnixStream); 3] = [
        |asker| drop(asker.write_all(&[7; 32])),
        |asker| drop(asker.write_all(&[7; 31])),
        // What was asked is no proof.
        |asker| {
            let mut nonce = [0; 32];
            drop(asker.read_exact(&mut nonce).and_then(|()| asker.write_all(&nonce)));
        },
    ];
    for answer in answers {
        let (_, key) = Key::some();
        key.held(answer);
        assert_told(&key.of_another().take().inspect_err(|_| refused += 1).unwrap());
    }
    for is_full in [false, true] {
        let (_, key) = Key::some();
        let shut = key.shut(is_full);
        let lock = key.of_another().take().inspect_err(|_| refused += 1).unwrap();
        assert!(lock.trouble().unwrap().contains("a program that nobody can connect to"), "{:?}", lock.trouble());
        drop(shut);
        taken(&lock);
    }
    println!("bound held-name {refused} starts refused");
}

#[test]
fn who_holds_the_name_as_the_same_user_is_taken_for_a_node_that_is_older_or_stopped() {
    assert!(is_node(true, Some(1), 2) && is_node(true, None, 2) && is_node(false, Some(2), 2));
    assert!(!is_node(false, Some(0), 2) && !is_node(false, None, 2));
    let (_, key) = Key::some();
    let _silent = key.listener();
    let said = key.refused();
    assert!(said.contains(&format!("same words runs on this machine, process {}", std::process::id())), "{said}");
}

#[test]
fn a_queue_that_another_user_filled_and_rows_that_it_forged_refuse_no_start() {
    let mut refused = 0;
    for is_full in [false, true] {
        let (_, key) = Key::some();
        // Any socket of this user's that no list shows by itself, under the name in a row of another's.
        let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = rustix::fs::fstat(&own).unwrap().st_ino;
        let row = format!("\n0: 2 0 0 1 1 {number} @{}", String::from_utf8_lossy(key.bytes()));
        let address = std_unix::SocketAddr::from_abstract_name(row).unwrap();
        let _forged = std_unix::UnixListener::bind_addr(&address).unwrap();
        let _shut = key.shut(is_full);
        let lock = key.take().inspect_err(|_| refused += 1).unwrap();
        assert!(lock.trouble().unwrap().contains("a program that nobody can connect to"), "{:?}", lock.trouble());
    }
    println!("bound forged-holder {refused} starts refused");
}

#[test]
fn a_node_that_200_say_nothing_to_proves_itself_at_once_also_to_another_user_and_gives_the_name_back_with_its_lock() {
    let (words, key) = Key::some();
    let lock = key.take().unwrap();
    assert_eq!(lock.trouble(), None);
    let key = Key::again(&words);
    let silent: Vec<_> = (0..200).map(|_| key.connect()).collect();
    let began = Instant::now();
    let said = key.of_another().refused();
    println!("proved after {:?}", began.elapsed());
    let id = std::process::id();
    assert!(said.contains(&format!("process {id}")) && said.contains(&format!("with `kill {id}`")), "{said}");
    // Also to who asks while others connect without end.
    let is_over = Arc::new(AtomicBool::new(false));
    let crowd = [(); 2].map(|()| {
        let (key, is_over) = (Key::again(&words), Arc::clone(&is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                drop(key.connect());
            }
        })
    });
    let began = Instant::now();
    let said = Key { patience: PATIENCE, ..Key::again(&words).of_another() }.refused();
    println!("proved in a crowd after {:?}", began.elapsed());
    is_over.store(true, Ordering::Relaxed);
    assert!(crowd.into_iter().all(|one| one.join().is_ok()));
    assert!(said.contains("same words runs on this machine"), "{said}");
    // Those that ask rightly are answered again and again, and each with its own proof.
    let key = Key::again(&words);
    let proofs: Vec<[u8; 32]> = (0..100)
        .map(|number| {
            let (mut asker, nonce, mut proof) = (key.connect(), [number; 32], [0; 32]);
            asker.write_all(&nonce).unwrap();
            asker.read_exact(&mut proof).unwrap();
            assert_eq!(proof, key.proof(&nonce));
            proof
        })
        .collect();
    assert!(proofs.windows(2).all(|pair| pair[0] != pair[1]));
    drop(lock);
    drop(key.take().unwrap());
    drop(silent);
    // Other words, and the same on another network, have another name and other proofs.
    let (here, there) = (Key::again(&words), Key::of(&words, Network::Signet).unwrap());
    assert!(here.name != there.name && here.proof(&[0; 32]) != there.proof(&[0; 32]));
}
