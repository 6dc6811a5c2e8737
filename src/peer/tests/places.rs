//! Who gets in while others hold every place, and which of two connections stays.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

/// The most a peer with a place of its own waits for it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// So many connections that say nothing, from so many addresses of this machine.
async fn silent(place: SocketAddr, count: usize, addresses: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for number in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        let last = u8::try_from(2 + number % addresses).unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
        held.push(socket.connect(place).await.unwrap());
    }
    held
}

/// Those of them that the node has not ended.
fn open(held: &[TcpStream]) -> usize {
    let is_open = |stream: &&TcpStream| matches!(stream.try_read(&mut [0; 1]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
    held.iter().filter(is_open).count()
}

/// How long this peer takes from its first try to its first message.
async fn gets_in(node: &mut Node, number: u8) -> (Duration, Node) {
    let mut peer = Node::start(number, quick()).await;
    let started = Instant::now();
    peer.net.connect(node.address()).unwrap();
    peer.until(PeerEvent::Connected(node.key())).await;
    send(&peer, node.key(), frame(KIND, 5)).await;
    assert_eq!(node.message().await.0, peer.key());
    (started.elapsed(), peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_lock_nobody_out() {
    let mut longest = Duration::ZERO;
    for (count, addresses) in [(32, 1), (200, 1), (200, 200)] {
        let mut node = Node::start(1, Limits::default()).await;
        let borrower = secret(2).public_key(bitcoin::secp256k1::SECP256K1);
        node.net.set_partners([borrower].into());
        let held = silent(node.net.listening().unwrap(), count, addresses).await;
        let mut inside = Vec::new();
        // A borrower with an open loan, and two strangers.
        for number in [2, 3, 4] {
            let (took, peer) = gets_in(&mut node, number).await;
            assert!(took < AT_ONCE, "{took:?} beside {count} connections from {addresses} addresses");
            longest = longest.max(took);
            inside.push(peer);
        }
        let left = open(&held);
        assert!(left <= Limits::default().max_proving, "{left} of {count} are open");
    }
    println!("bound silent-connections {} ms", longest.as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_no_manager_before_it_says_something() {
    let node = Node::start(1, Limits::default()).await;
    let places = Limits::default().max_proving;
    let mut held = silent(node.net.listening().unwrap(), 3 * places, 1).await;
    let started = Instant::now();
    // All have been taken in once the older ones have given way.
    while open(&held) > places && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((open(&held), node.net.managers()), (places, 0));
    let mut latest = held.pop().unwrap();
    latest.write_all(&[0]).await.unwrap();
    while node.net.managers() == 0 && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.net.managers(), 1);
    // It proves its key no later for that.
    let closed = tokio::time::timeout(DEADLINE, latest.read(&mut [0; 1])).await.expect("closed in time");
    assert_eq!(closed.unwrap_or(0), 0);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

/// One address that connects without end and says nothing: so many connections at a time, each again as soon as the node has
/// ended it. Until it is dropped.
struct Stream {
    made: Arc<AtomicUsize>,
    _goes_on: oneshot::Sender<()>,
}

impl Stream {
    fn to(node: SocketAddr, at_once: usize) -> Stream {
        let made = Arc::new(AtomicUsize::new(0));
        let (goes_on, ends) = oneshot::channel();
        let counted = made.clone();
        // A thread of its own, as another machine would be.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for _ in 0..at_once {
                    let made = counted.clone();
                    tokio::spawn(async move {
                        loop {
                            let socket = TcpSocket::new_v4().unwrap();
                            socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
                            let Ok(mut stream) = socket.connect(node).await else { continue };
                            made.fetch_add(1, Ordering::Relaxed);
                            let _ = stream.read(&mut [0; 1]).await;
                        }
                    });
                }
                let _ = ends.await;
            });
        });
        Stream { made, _goes_on: goes_on }
    }

    /// Waits until it has made so many more connections.
    async fn makes(&self, more: usize) {
        let (started, before) = (Instant::now(), self.made.load(Ordering::Relaxed));
        while self.made.load(Ordering::Relaxed) < before + more {
            assert!(started.elapsed() < DEADLINE, "the node takes nobody in");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_peer_gets_in_at_once_beside_an_address_that_connects_without_end() {
    let mut node = Node::start(1, Limits::default()).await;
    let known = [2, 3, 4].map(|number| secret(number).public_key(bitcoin::secp256k1::SECP256K1));
    node.net.set_partners(known.into());
    // More at a time than a listener has room for by default.
    let crowd = Stream::to(node.net.listening().unwrap(), 400);
    crowd.makes(2_000).await;
    let (mut longest, mut inside) = (Duration::ZERO, Vec::new());
    for number in [2, 3, 4] {
        let (took, peer) = gets_in(&mut node, number).await;
        crowd.makes(400).await;
        assert!(took < AT_ONCE, "{took:?}");
        longest = longest.max(took);
        inside.push(peer);
    }
    assert!(inside.iter().all(|peer| node.net.is_connected(peer.key())));
    println!("bound connection-stream {} ms", longest.as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_proves_no_key_ends_after_seconds() {
    let node = Node::start(1, Limits::default()).await;
    let started = Instant::now();
    let mut held = silent(node.net.listening().unwrap(), 1, 1).await;
    let read = tokio::time::timeout(DEADLINE, held[0].read(&mut [0; 1])).await.expect("closed in time");
    let took = started.elapsed();
    assert_eq!(read.unwrap_or(0), 0);
    assert!(took < Duration::from_secs(6), "{took:?}");
    println!("bound silent-connection-time {} ms", took.as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_keys_take_no_place_of_a_peer_with_a_loan_or_a_kept_address() {
    let limits = Limits { max_inbound: 4, max_inbound_per_ip: 4, ..quick() };
    let mut node = Node::start(1, limits).await;
    let borrower = secret(40).public_key(bitcoin::secp256k1::SECP256K1);
    let known = secret(41).public_key(bitcoin::secp256k1::SECP256K1);
    node.net.set_partners([borrower].into());
    node.net.connect(format!("{known}@127.0.0.1:1").parse().unwrap()).unwrap();
    let mut strangers = Vec::new();
    for number in 2..6 {
        strangers.push(gets_in(&mut node, number).await.1);
    }
    // One more stranger is turned away, and tries again in vain.
    let turned_away = Node::start(6, quick()).await;
    turned_away.net.connect(node.address()).unwrap();
    let started = Instant::now();
    while turned_away.net.peers()[0].last_problem.is_none() && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!node.net.is_connected(turned_away.key()));
    for number in [40, 41] {
        let (took, peer) = gets_in(&mut node, number).await;
        assert!(took < AT_ONCE, "{took:?}");
        strangers.push(peer);
    }
    assert!(strangers.iter().all(|peer| node.net.is_connected(peer.key())), "nobody was turned out for them");
}

/// Carries bytes to a node until it is frozen: then it carries none and ends nothing.
struct Path {
    place: SocketAddr,
    frozen: tokio::sync::watch::Sender<bool>,
}

impl Path {
    async fn to(node: SocketAddr) -> Path {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let place = listener.local_addr().unwrap();
        let frozen = tokio::sync::watch::Sender::new(false);
        let freeze = frozen.subscribe();
        tokio::spawn(async move {
            // What is frozen stays open.
            while let Ok((mut here, _)) = listener.accept().await {
                let mut freeze = freeze.clone();
                tokio::spawn(async move {
                    let mut there = TcpStream::connect(node).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                        () = async { drop(freeze.wait_for(|frozen| *frozen).await) } => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Path { place, frozen }
    }

    fn address(&self, node: &Node) -> PeerAddress {
        format!("{}@{}", node.key(), self.place).parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_takes_the_place_of_its_dead_connection_at_once() {
    let mut longest = Duration::ZERO;
    // Whoever has the lesser key, and also where the node itself had opened the dead connection.
    for (here, there, dialled_by_node) in [(1, 2, false), (2, 1, false), (1, 2, true), (2, 1, true)] {
        // None of these connections counts as one that crossed.
        let limits = Limits { crossing_time: Duration::ZERO, ..Limits::default() };
        let mut node = Node::start(here, limits).await;
        let mut before = Node::start(there, quick()).await;
        let (one, other) = match dialled_by_node {
            false => (&mut before, &mut node),
            true => (&mut node, &mut before),
        };
        let wire = Path::to(other.net.listening().unwrap()).await;
        one.net.connect(wire.address(other)).unwrap();
        one.until(PeerEvent::Connected(other.key())).await;
        other.until(PeerEvent::Connected(one.key())).await;
        talk(&mut node, &mut before).await;
        wire.frozen.send_replace(true);
        let (took, peer) = gets_in(&mut node, there).await;
        assert!(took < AT_ONCE, "{took:?}");
        assert!(node.net.is_connected(peer.key()));
        longest = longest.max(took);
        // What the dead one still had to say is not heard.
        assert!(before.net.send(node.key(), frame(KIND, 7)).is_ok());
    }
    println!("bound dead-connection {} ms", longest.as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_leaves_the_connection_and_the_address_that_are_there() {
    let (mut one, mut two) = pair().await;
    let right = one.net.kept_address(two.key()).unwrap();
    let nobody = Path::to(one.net.listening().unwrap()).await;
    for lasting in [false, true] {
        // Somebody else answers there, who has another key.
        let wrong = nobody.address(&two);
        match lasting {
            false => one.net.try_at(wrong, Duration::from_secs(5)).unwrap(),
            true => one.net.connect(wrong).unwrap(),
        }
        let started = Instant::now();
        while lasting && one.net.peers()[0].last_problem.is_none() && started.elapsed() < DEADLINE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        talk(&mut one, &mut two).await;
        assert_eq!(one.net.kept_address(two.key()), Some(right.clone()));
    }
    assert!(one.events.try_recv().is_err(), "the connection was never lost");
    // When it is lost it is made again, at the right address.
    one.net.disconnect(two.key());
    one.until(PeerEvent::Disconnected(two.key())).await;
    one.until(PeerEvent::Connected(two.key())).await;
    assert_eq!(one.net.kept_address(two.key()), Some(right));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_at_which_the_peer_proves_its_key_is_kept_instead() {
    let (mut one, mut two) = pair().await;
    let path = Path::to(two.net.listening().unwrap()).await;
    let moved = path.address(&two);
    one.net.connect(moved.clone()).unwrap();
    one.until(PeerEvent::Disconnected(two.key())).await;
    one.until(PeerEvent::Connected(two.key())).await;
    assert_eq!(one.net.kept_address(two.key()), Some(moved));
    let started = Instant::now();
    while !two.net.is_connected(one.key()) && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    talk(&mut two, &mut one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_only_tried_is_forgotten() {
    let one = Node::start(1, quick()).await;
    let two = Node::start(2, quick()).await;
    let nobody = format!("{}@{}", two.key(), one.net.listening().unwrap()).parse().unwrap();
    one.net.try_at(nobody, Duration::from_millis(200)).unwrap();
    assert_eq!((one.net.peers().len(), one.net.kept_address(two.key())), (1, None));
    let started = Instant::now();
    while !one.net.peers().is_empty() && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(one.net.peers(), []);
    // One that answers is kept.
    one.net.try_at(two.address(), DEADLINE).unwrap();
    while one.net.kept_address(two.key()).is_none() && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(one.net.kept_address(two.key()), Some(two.address()));
}
