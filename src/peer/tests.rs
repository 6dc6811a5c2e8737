//! Nodes on real sockets: what arrives, what is refused, and who goes on while another misbehaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::segment::{split, Wire, SEGMENT_CHUNK, SEGMENT_START};
use super::{ConnectError, Frame, Kinds, Limits, PeerAddress, PeerEvent, PeerNet, SendError, Unreached};

mod places;

const KIND: u16 = 42_778;
const DEADLINE: Duration = Duration::from_secs(30);

struct Node {
    net: PeerNet,
    events: mpsc::Receiver<PeerEvent>,
}

fn quick() -> Limits {
    Limits {
        first_backoff: Duration::from_millis(20),
        most_backoff: Duration::from_millis(200),
        connect_time: Duration::from_secs(5),
        bytes_per_second: 64 << 20,
        burst_bytes: 64 << 20,
        ..Limits::default()
    }
}

fn kinds() -> Kinds {
    Kinds::new([KIND, 42_780, 33_001]).unwrap()
}

fn anywhere() -> Option<SocketAddr> {
    Some((Ipv4Addr::LOCALHOST, 0).into())
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_slice(&[number; 32]).unwrap()
}

impl Node {
    async fn start(number: u8, limits: Limits) -> Node {
        Node::start_at(number, limits, anywhere()).await
    }

    async fn start_at(number: u8, limits: Limits, listen: Option<SocketAddr>) -> Node {
        let started = PeerNet::start(secret(number), Network::Regtest, listen, kinds(), limits).await;
        let (net, events) = started.unwrap();
        Node { net, events }
    }

    fn key(&self) -> PublicKey {
        self.net.key()
    }

    fn address(&self) -> PeerAddress {
        format!("{}@{}", self.key(), self.net.listening().unwrap()).parse().unwrap()
    }

    async fn next(&mut self) -> PeerEvent {
        tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("an open room")
    }

    /// Takes events until `wanted` comes.
    async fn until(&mut self, wanted: PeerEvent) {
        while self.next().await != wanted {}
    }

    /// The next message, whoever connects or disconnects meanwhile.
    async fn message(&mut self) -> (PublicKey, Frame) {
        loop {
            if let PeerEvent::Message(peer, frame) = self.next().await {
                return (peer, frame);
            }
        }
    }

    async fn meets(&mut self, other: &mut Node) {
        self.net.connect(other.address()).unwrap();
        let (here, there) = (self.key(), other.key());
        self.until(PeerEvent::Connected(there)).await;
        other.until(PeerEvent::Connected(here)).await;
    }
}

async fn pair() -> (Node, Node) {
    let (mut one, mut two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    one.meets(&mut two).await;
    (one, two)
}

fn frame(kind: u16, length: usize) -> Frame {
    Frame { kind, bytes: (0..length).map(|at| (at % 251) as u8).collect() }
}

/// Sends, again while the outbox is full.
async fn send(node: &Node, to: PublicKey, frame: Frame) {
    let started = Instant::now();
    while let Err(error) = node.net.send(to, frame.clone()) {
        assert!(matches!(error, SendError::Full { .. }) && started.elapsed() < DEADLINE, "{error}");
        tokio::task::yield_now().await;
    }
}

/// A message goes from one to the other and another comes back.
async fn talk(one: &mut Node, two: &mut Node) {
    send(one, two.key(), frame(KIND, 300_000)).await;
    assert_eq!(two.message().await, (one.key(), frame(KIND, 300_000)));
    send(two, one.key(), frame(33_001, 10)).await;
    assert_eq!(one.message().await, (two.key(), frame(33_001, 10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_size_arrive_whole_and_in_order_both_ways() {
    let (mut one, mut two) = pair().await;
    let sizes = [0, 1, 65_532, 65_533, 65_534, 65_535, 131_052, 131_053, 1 << 20, 7, 4 << 20, 3];
    for size in sizes {
        send(&one, two.key(), frame(KIND, size)).await;
        send(&two, one.key(), frame(33_001, size)).await;
    }
    for size in sizes {
        assert_eq!(two.message().await, (one.key(), frame(KIND, size)));
        assert_eq!(one.message().await, (two.key(), frame(33_001, size)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_is_found_again() {
    let (mut one, mut two) = pair().await;
    talk(&mut one, &mut two).await;
    for _ in 0..3 {
        let listening = two.net.listening();
        two.net.shutdown().await;
        one.until(PeerEvent::Disconnected(two.key())).await;
        assert_eq!(one.net.send(two.key(), frame(KIND, 1)), Err(SendError::NotConnected(two.key())));
        drop(two);
        two = Node::start_at(2, quick(), listening).await;
        one.until(PeerEvent::Connected(two.key())).await;
        two.until(PeerEvent::Connected(one.key())).await;
        talk(&mut one, &mut two).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_there_yet_is_found_once_it_is() {
    // Bound and not listening: whoever dials is refused, and no other test is given this port meanwhile.
    let place = TcpSocket::new_v4().unwrap();
    place.set_reuseaddr(true).unwrap();
    place.bind(anywhere().unwrap()).unwrap();
    let key = secret(2).public_key(bitcoin::secp256k1::SECP256K1);
    let address: PeerAddress = format!("{key}@{}", place.local_addr().unwrap()).parse().unwrap();
    let mut one = Node::start(1, quick()).await;
    one.net.connect(address.clone()).unwrap();
    let problem = || one.net.peers()[0].last_problem.clone();
    let started = Instant::now();
    while problem().is_none() && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(problem(), Some(Unreached::NotListening));
    assert!(!one.net.is_connected(address.key));
    let listen = Some(place.local_addr().unwrap());
    drop(place);
    let mut two = Node::start_at(2, quick(), listen).await;
    one.until(PeerEvent::Connected(address.key)).await;
    talk(&mut two, &mut one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_sent_is_refused_at_once() {
    let (one, two) = pair().await;
    let absent = secret(9).public_key(bitcoin::secp256k1::SECP256K1);
    assert_eq!(one.net.send(absent, frame(KIND, 1)), Err(SendError::NotConnected(absent)));
    assert_eq!(one.net.send(two.key(), frame(33_003, 1)), Err(SendError::Kind(33_003)));
    let (found, most) = ((4 << 20) + 1, 4 << 20);
    assert_eq!(one.net.send(two.key(), frame(KIND, found)), Err(SendError::TooLarge { found, most }));
    assert_eq!(one.net.connect(one.address()), Err(ConnectError::Myself(one.key())));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_dial_each_other_end_up_with_one_connection() {
    let (one, mut two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    two.net.connect(one.address()).unwrap();
    one.net.connect(two.address()).unwrap();
    let started = Instant::now();
    // A message that arrives proves a connection; while both sides drop the other's it may be lost.
    loop {
        let sent = one.net.send(two.key(), frame(KIND, 5)).is_ok();
        let arrived = tokio::time::timeout(Duration::from_millis(50), two.message()).await;
        if sent && arrived.is_ok() {
            break;
        }
        assert!(started.elapsed() < DEADLINE);
    }
    assert_eq!((one.net.peers().len(), two.net.peers().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_peer_is_not_dialled_again_and_a_disconnected_one_is() {
    let (mut one, two) = pair().await;
    one.net.disconnect(two.key());
    one.until(PeerEvent::Disconnected(two.key())).await;
    one.until(PeerEvent::Connected(two.key())).await;
    one.net.forget(two.key());
    one.until(PeerEvent::Disconnected(two.key())).await;
    assert_eq!(one.net.peers(), []);
    // Its own dialling is another matter.
    two.net.connect(one.address()).unwrap();
    one.until(PeerEvent::Connected(two.key())).await;
    assert!(one.net.peers()[0].inbound && one.net.peers()[0].address.is_none());
}

/// Messages no honest node sends, with the reason the log must give.
fn broken() -> Vec<(&'static str, Vec<Wire>)> {
    let whole = split(frame(KIND, 200_000));
    let (start, chunk) = (whole[0].clone(), whole[1].clone());
    let raw = |kind, bytes: &[u8]| Wire { kind, bytes: bytes.to_vec() };
    let mut many = start.clone();
    many.bytes[..2].copy_from_slice(&1_000u16.to_be_bytes());
    let mut even = start.clone();
    even.bytes[4..6].copy_from_slice(&40_000u16.to_be_bytes());
    let mut long = split(frame(KIND, 4 << 20));
    long.last_mut().unwrap().bytes = chunk.bytes.clone();
    vec![
        ("segment_start must be", vec![raw(SEGMENT_START, b"")]),
        ("segment_start must be", vec![raw(SEGMENT_START, &[0, 2, 0, 1, 7])]),
        ("segment_start must be", vec![many]),
        ("segment_start inside", vec![start.clone(), start.clone()]),
        ("segment_chunk without", vec![chunk.clone()]),
        ("segment_chunk must hold", vec![start.clone(), raw(SEGMENT_CHUNK, &[0, 1, 7])]),
        ("segment_chunk must hold", vec![start.clone(), raw(SEGMENT_CHUNK, &[255])]),
        ("between the segments", vec![start.clone(), raw(KIND, b"whole")]),
        ("segmented message of kind 40000", vec![even]),
        ("message above 4194304 bytes", long),
        ("even kind 40000", vec![raw(40_000, b"")]),
        ("Lightning channels", vec![raw(38, &[0; 34])]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_a_rule_is_disconnected_and_the_others_go_on() {
    let mut node = Node::start(1, quick()).await;
    let mut honest = Node::start(2, quick()).await;
    honest.meets(&mut node).await;
    let mut hostile = Node::start(3, Limits { first_backoff: DEADLINE, ..quick() }).await;
    for (reason, messages) in broken() {
        hostile.net.connect(node.address()).unwrap();
        node.until(PeerEvent::Connected(hostile.key())).await;
        let link = node.net.lanes().link(hostile.key()).unwrap();
        hostile.until(PeerEvent::Connected(node.key())).await;
        send(&honest, node.key(), frame(KIND, 100_000)).await;
        hostile.net.send_raw(node.key(), messages).unwrap();
        let (mut gone, mut heard) = (false, false);
        while !(gone && heard) {
            match node.next().await {
                PeerEvent::Disconnected(peer) if peer == hostile.key() => gone = true,
                event => {
                    assert_eq!(event, PeerEvent::Message(honest.key(), frame(KIND, 100_000)), "{reason}");
                    heard = true;
                }
            }
        }
        let given = link.reason().unwrap();
        assert!(given.contains(reason), "{reason}: {given}");
        hostile.until(PeerEvent::Disconnected(node.key())).await;
        hostile.net.forget(node.key());
    }
    talk(&mut honest, &mut node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_odd_messages_are_ignored_also_in_segments() {
    let (one, mut two) = pair().await;
    let raw = Wire { kind: 40_001, bytes: vec![1, 2, 3] };
    one.net.send_raw(two.key(), vec![raw]).unwrap();
    one.net.send_raw(two.key(), split(frame(40_001, 300_000))).unwrap();
    send(&one, two.key(), frame(KIND, 12)).await;
    assert_eq!(two.next().await, PeerEvent::Message(one.key(), frame(KIND, 12)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_message_ends_the_connection_after_a_time() {
    let limits =
        Limits { reassembly_time: Duration::from_millis(100), ping_every: Duration::from_millis(50), ..quick() };
    let (mut one, mut two) = (Node::start(1, quick()).await, Node::start(2, limits).await);
    one.meets(&mut two).await;
    let link = two.net.lanes().link(one.key()).unwrap();
    one.net.send_raw(two.key(), vec![split(frame(KIND, 200_000)).remove(0)]).unwrap();
    two.until(PeerEvent::Disconnected(one.key())).await;
    assert!(link.reason().unwrap().contains("took longer than 100 ms"), "{:?}", link.reason());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_nothing_slows_its_peer_down_and_loses_nothing() {
    let (one, mut two) = pair().await;
    let mut sent = 0u32;
    // The outbox stays full only once every buffer on the way is: keep pushing for a moment after the first refusal.
    let mut refused: Option<Instant> = None;
    while refused.is_none_or(|at| at.elapsed() < Duration::from_millis(500)) {
        let bytes = [sent.to_be_bytes().as_slice(), &[0; 300_000]].concat();
        match one.net.send(two.key(), Frame { kind: KIND, bytes }) {
            Ok(()) => (sent, refused) = (sent + 1, None),
            Err(SendError::Full { .. }) => {
                refused.get_or_insert_with(Instant::now);
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 400, "more than 120 MB were taken by a peer that reads nothing");
    }
    assert!(two.net.is_connected(one.key()));
    for expected in 0..sent {
        let (peer, frame) = two.message().await;
        assert_eq!((peer, &frame.bytes[..4]), (one.key(), expected.to_be_bytes().as_slice()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_hold_back_another_peers_message() {
    let limits = Limits { event_queue: 1, ..quick() };
    let (mut node, mut honest) = (Node::start(1, limits).await, Node::start(2, quick()).await);
    honest.meets(&mut node).await;
    let mut hostile = Node::start(3, quick()).await;
    hostile.meets(&mut node).await;
    for _ in 0..2_000 {
        hostile.net.send_raw(node.key(), vec![Wire { kind: KIND, bytes: vec![0; 100] }]).unwrap();
    }
    // Two flood messages: the flood is under way, and the node has not taken the rest of it.
    assert_eq!(node.message().await.0, hostile.key());
    send(&honest, node.key(), frame(33_001, 9)).await;
    let started = Instant::now();
    while !node.net.lanes().has_message_from(honest.key()) && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut flood_first = 0;
    while node.message().await.0 != honest.key() {
        flood_first += 1;
    }
    assert!(flood_first <= 3, "{flood_first} messages of the flood came first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_above_its_rate_is_slowed_down_and_not_cut_off() {
    let limits = Limits { bytes_per_second: 400_000, burst_bytes: 100_000, ..quick() };
    let (mut one, mut two) = (Node::start(1, quick()).await, Node::start(2, limits).await);
    one.meets(&mut two).await;
    let started = Instant::now();
    send(&one, two.key(), frame(KIND, 500_000)).await;
    assert_eq!(two.message().await.1, frame(KIND, 500_000));
    assert!(started.elapsed() >= Duration::from_millis(950), "{:?}", started.elapsed());
    let limits = Limits { messages_per_second: 100, burst_messages: 10, ..quick() };
    let mut three = Node::start(3, limits).await;
    one.meets(&mut three).await;
    let started = Instant::now();
    for _ in 0..200 {
        send(&one, three.key(), frame(KIND, 1)).await;
    }
    for _ in 0..200 {
        three.message().await;
    }
    // One read can hold many small messages, and the debt of the last one is paid after them.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_network_or_with_another_key_is_not_a_peer() {
    let mut one = Node::start(1, quick()).await;
    let other = PeerNet::start(secret(2), Network::Signet, anywhere(), kinds(), quick()).await.unwrap();
    let address: PeerAddress = format!("{}@{}", other.0.key(), other.0.listening().unwrap()).parse().unwrap();
    let two = Node::start(3, quick()).await;
    let wrong_key = PeerAddress { key: secret(4).public_key(bitcoin::secp256k1::SECP256K1), ..two.address() };
    // Each hears which network the other is for, whoever dialled.
    let on = |network: &str| Unreached::OtherNetwork(network.to_owned());
    for (net, address, expected) in [
        (&one.net, address, on("signet")),
        (&other.0, one.address(), on("regtest")),
        (&one.net, wrong_key, Unreached::WrongKey),
    ] {
        net.connect(address.clone()).unwrap();
        let started = Instant::now();
        let problem = || net.peers().into_iter().find(|peer| peer.key == address.key)?.last_problem;
        while problem().is_none() && started.elapsed() < DEADLINE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!net.is_connected(address.key));
        assert_eq!(problem(), Some(expected));
    }
    assert!(one.events.try_recv().is_err(), "nobody connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_keeps_a_peer_from_being_reached_has_a_name() {
    let one = Node::start(1, Limits { handshake_time: Duration::from_millis(300), ..quick() }).await;
    // Something that takes every connection and says this, or nothing.
    let stand = |words: &'static [u8]| async move {
        let listener = TcpListener::bind(anywhere().unwrap()).await.unwrap();
        let place = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(words).await;
                held.push(stream);
            }
        });
        place.to_string()
    };
    let (silent, web) = (stand(b"").await, stand(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await);
    for (number, place, expected) in [
        (11, silent, Unreached::Silent),
        (12, web, Unreached::OtherProtocol),
        (13, "no-such-host.invalid:9735".to_owned(), Unreached::UnknownHost),
        (14, "127.0.0.1:1".to_owned(), Unreached::NotListening),
    ] {
        let key = secret(number).public_key(bitcoin::secp256k1::SECP256K1);
        let address: PeerAddress = format!("{key}@{place}").parse().unwrap();
        one.net.try_at(address.clone(), DEADLINE).unwrap();
        let started = Instant::now();
        while one.net.problem_at(&address).is_none() && started.elapsed() < DEADLINE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(one.net.problem_at(&address), Some(expected), "{place}");
        assert_eq!(one.net.problem_at(&PeerAddress { port: 2, ..address }), None, "another address");
    }
}

/// Takes events until this one's peer says that another node answers with this node's key.
async fn is_told(node: &mut Node, by: PublicKey) -> bool {
    let told = async { while node.next().await != PeerEvent::SameKey(by) {} };
    tokio::time::timeout(DEADLINE, told).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_key_are_both_told_by_the_peer_they_take_from_each_other() {
    let mut peer = Node::start(1, quick()).await;
    let (mut one, mut two) = (Node::start(2, quick()).await, Node::start(2, quick()).await);
    one.net.connect(peer.address()).unwrap();
    two.net.connect(peer.address()).unwrap();
    // The peer's own events are taken, as a node does.
    let taken = tokio::spawn(async move { while peer.events.recv().await.is_some() {} });
    let by = secret(1).public_key(bitcoin::secp256k1::SECP256K1);
    let (first, second) = tokio::join!(is_told(&mut one, by), is_told(&mut two, by));
    assert!(first && second, "told: {first}, {second}");
    taken.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_and_again_is_told_of_no_second_one() {
    let mut peer = Node::start(1, quick()).await;
    for _ in 0..5 {
        let mut one = Node::start(2, quick()).await;
        one.meets(&mut peer).await;
        talk(&mut one, &mut peer).await;
        // Gone without a goodbye: the room is dropped, and its peer hears of the next one first.
        drop(one);
    }
    while let Ok(event) = peer.events.try_recv() {
        assert!(!matches!(event, PeerEvent::SameKey(_)), "{event:?}");
    }
    let key = secret(2).public_key(bitcoin::secp256k1::SECP256K1);
    assert!(!peer.net.lanes().is_same_key_suspected(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_say_nothing_or_nonsense_are_shown_out() {
    let limits = Limits { handshake_time: Duration::from_millis(300), max_proving: 3, ..quick() };
    let (mut node, mut honest) = (Node::start(1, limits).await, Node::start(2, quick()).await);
    let place = node.net.listening().unwrap();
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(TcpStream::connect(place).await.unwrap());
    }
    // Nonsense is closed when it is read, silence after a time.
    let _ = strangers[1].write_all(&[0x55; 500]).await;
    for mut stranger in strangers {
        let read = tokio::time::timeout(DEADLINE, stranger.read(&mut [0; 1])).await.expect("closed in time");
        assert_eq!(read.unwrap_or(0), 0);
    }
    honest.meets(&mut node).await;
    talk(&mut honest, &mut node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listen_address_in_use_and_a_foreign_kind_are_refused_with_words() {
    let one = Node::start(1, quick()).await;
    let taken = one.net.listening();
    let error = PeerNet::start(secret(2), Network::Regtest, taken, kinds(), quick()).await.err().unwrap();
    let expected = format!("peer listen address {} cannot be used: ", taken.unwrap());
    assert!(error.to_string().starts_with(&expected), "{error}");
    for kind in [16, 42_900, 42_902] {
        let error = Kinds::new([KIND, kind]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("message kind {kind} belongs to")), "{error}");
    }
}
