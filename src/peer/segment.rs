//! Long messages in pieces: the DLC specification's segment_start and segment_chunk, as `ddk-messages` writes them.
//!
//! ```text
//! 42900 segment_start  number of segments u16 | length u16 | kind u16 and the first 65,524 bytes
//! 42902 segment_chunk                           length u16 | up to 65,528 bytes, all but the last full
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use super::{Frame, Kinds};

pub(super) const SEGMENT_START: u16 = 42_900;
pub(super) const SEGMENT_CHUNK: u16 = 42_902;
/// The most payload bytes of one Lightning message after its type.
pub(super) const MAX_WHOLE: usize = 65_533;
const START_DATA: usize = 65_526;
const CHUNK_DATA: usize = 65_528;

/// One Lightning message: its type and what follows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wire {
    pub kind: u16,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire {{ kind: {}, bytes: {} }}", self.kind, self.bytes.len())
    }
}

/// Cuts a frame into the messages that carry it; one when it fits. The frame is at most the peer's `max_message`.
pub(super) fn split(frame: Frame) -> Vec<Wire> {
    let Frame { kind, bytes } = frame;
    if bytes.len() <= MAX_WHOLE {
        return vec![Wire { kind, bytes }];
    }
    let (head, tail) = bytes.split_at(START_DATA - 2);
    let chunks = tail.chunks(CHUNK_DATA);
    let count = u16::try_from(chunks.len().saturating_add(1)).unwrap_or(u16::MAX);
    let mut start = Vec::with_capacity(4 + START_DATA);
    start.extend_from_slice(&count.to_be_bytes());
    start.extend_from_slice(&length(START_DATA));
    start.extend_from_slice(&kind.to_be_bytes());
    start.extend_from_slice(head);
    let chunks = chunks.map(|part| Wire { kind: SEGMENT_CHUNK, bytes: [length(part.len()).as_slice(), part].concat() });
    std::iter::once(Wire { kind: SEGMENT_START, bytes: start }).chain(chunks).collect()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// What a peer did wrong: it is disconnected, and this is the reason in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("segment_start must be {START_DATA} bytes of data in 2 to {most} segments")]
    Start { most: usize },
    #[error("segment_start inside an unfinished message")]
    StartInside,
    #[error("segment_chunk without a segment_start")]
    NoStart,
    #[error("message of kind {0} between the segments of another")]
    Between(u16),
    #[error("segment_chunk must hold {CHUNK_DATA} bytes, only the last one fewer and none zero")]
    Chunk,
    #[error("segmented message of kind {0}, which this node does not know")]
    UnknownEven(u16),
    #[error("message above {most} bytes")]
    TooLarge { most: usize },
    #[error("the segments of a message took longer than {} ms", .0.as_millis())]
    Late(Duration),
    #[error("a message about Lightning channels, which this node does not have")]
    Channel,
}

/// Puts one peer's segments together. Holds at most one unfinished message, never longer than the limit, and grows
/// only with bytes that have arrived.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    unfinished: Option<Unfinished>,
}

struct Unfinished {
    kind: u16,
    /// None when the kind is unknown and odd: the segments are counted and thrown away.
    bytes: Option<Vec<u8>>,
    received: usize,
    segments_left: u16,
    since: Instant,
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unfinished {{ kind: {}, received: {} }}", self.kind, self.received)
    }
}

/// The rules a message is read under.
pub(super) struct Rules<'a> {
    pub kinds: &'a Kinds,
    pub max_message: usize,
    pub time: Duration,
}

impl Reassembly {
    /// Takes one message; returns a frame when it completes one.
    pub(super) fn take(&mut self, wire: Wire, rules: &Rules, now: Instant) -> Result<Option<Frame>, Violation> {
        self.check_time(rules.time, now)?;
        match wire.kind {
            SEGMENT_START => self.start(&wire.bytes, rules, now).map(|()| None),
            SEGMENT_CHUNK => self.chunk(&wire.bytes, rules),
            kind if self.unfinished.is_some() => Err(Violation::Between(kind)),
            _ if wire.bytes.len() > rules.max_message => Err(Violation::TooLarge { most: rules.max_message }),
            kind => Ok(Some(Frame { kind, bytes: wire.bytes })),
        }
    }

    /// An unfinished message must not wait for ever, also when nothing more comes.
    pub(super) fn check_time(&self, time: Duration, now: Instant) -> Result<(), Violation> {
        match &self.unfinished {
            Some(unfinished) if now.saturating_duration_since(unfinished.since) > time => Err(Violation::Late(time)),
            _ => Ok(()),
        }
    }

    fn start(&mut self, body: &[u8], rules: &Rules, now: Instant) -> Result<(), Violation> {
        if self.unfinished.is_some() {
            return Err(Violation::StartInside);
        }
        // All segments but the last are full, so their number bounds the size before they arrive.
        let most =
            rules.max_message.saturating_add(2).saturating_sub(START_DATA).div_ceil(CHUNK_DATA).saturating_add(1);
        let refuse = || Violation::Start { most };
        let (count, rest) = body.split_first_chunk::<2>().ok_or_else(refuse)?;
        let data = sized(rest).filter(|data| data.len() == START_DATA).ok_or_else(refuse)?;
        let (kind, head) = data.split_first_chunk::<2>().ok_or_else(refuse)?;
        let (count, kind) = (u16::from_be_bytes(*count), u16::from_be_bytes(*kind));
        if count < 2 || usize::from(count) > most {
            return Err(refuse());
        }
        let known = rules.kinds.accepts(kind);
        if !known && kind.is_multiple_of(2) {
            return Err(Violation::UnknownEven(kind));
        }
        let bytes = known.then(|| head.to_vec());
        self.unfinished = Some(Unfinished { kind, bytes, received: head.len(), segments_left: count - 1, since: now });
        Ok(())
    }

    fn chunk(&mut self, body: &[u8], rules: &Rules) -> Result<Option<Frame>, Violation> {
        let unfinished = self.unfinished.as_mut().ok_or(Violation::NoStart)?;
        let data = sized(body).ok_or(Violation::Chunk)?;
        unfinished.segments_left = unfinished.segments_left.saturating_sub(1);
        let last = unfinished.segments_left == 0;
        if data.is_empty() || data.len() > CHUNK_DATA || (!last && data.len() != CHUNK_DATA) {
            return Err(Violation::Chunk);
        }
        unfinished.received = unfinished.received.saturating_add(data.len());
        if unfinished.received > rules.max_message {
            return Err(Violation::TooLarge { most: rules.max_message });
        }
        if let Some(bytes) = &mut unfinished.bytes {
            bytes.extend_from_slice(data);
        }
        if !last {
            return Ok(None);
        }
        let finished = self.unfinished.take();
        Ok(finished.and_then(|whole| Some(Frame { kind: whole.kind, bytes: whole.bytes? })))
    }
}

/// The bytes after a length that must be exact.
fn sized(body: &[u8]) -> Option<&[u8]> {
    let (length, data) = body.split_first_chunk::<2>()?;
    (usize::from(u16::from_be_bytes(*length)) == data.len()).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn kinds() -> Kinds {
        Kinds::new([42_778]).unwrap()
    }

    fn rules(kinds: &Kinds) -> Rules<'_> {
        Rules { kinds, max_message: 1 << 20, time: Duration::from_secs(60) }
    }

    #[test]
    fn segments_have_the_layout_other_implementations_read() {
        let bytes: Vec<u8> = (0..200_000u32).map(|at| (at % 256) as u8).collect();
        let wires = split(Frame { kind: 42_778, bytes: bytes.clone() });
        let kinds: Vec<u16> = wires.iter().map(|wire| wire.kind).collect();
        assert_eq!(kinds, [42_900, 42_902, 42_902, 42_902]);
        // Four segments; 65,526 bytes follow; the kind is the first two of them.
        assert_eq!(wires[0].bytes[..8], [0, 4, 0xff, 0xf6, 0xa7, 0x1a, 0, 1]);
        assert_eq!(wires[1].bytes[..3], [0xff, 0xf8, bytes[65_524]]);
        let rest = 200_000 - 65_524 - 2 * 65_528;
        assert_eq!(wires[3].bytes[..2], (rest as u16).to_be_bytes());
        assert!(wires.iter().all(|wire| wire.bytes.len() <= MAX_WHOLE));
    }

    #[test]
    fn a_message_that_stays_unfinished_is_late() {
        let (kinds, now) = (kinds(), Instant::now());
        let mut reassembly = Reassembly::default();
        let mut wires = split(Frame { kind: 42_778, bytes: vec![0; 150_000] }).into_iter();
        assert_eq!(reassembly.take(wires.next().unwrap(), &rules(&kinds), now), Ok(None));
        let later = now + Duration::from_secs(61);
        assert_eq!(reassembly.check_time(Duration::from_secs(60), now + Duration::from_secs(60)), Ok(()));
        let late = Err(Violation::Late(Duration::from_secs(60)));
        assert_eq!(reassembly.take(wires.next().unwrap(), &rules(&kinds), later), late);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_split_comes_together_again(length in 0usize..(1 << 20), fill in any::<u8>()) {
            let (kinds, now) = (kinds(), Instant::now());
            let frame = Frame { kind: 42_778, bytes: vec![fill; length] };
            let mut reassembly = Reassembly::default();
            let mut wires = split(frame.clone());
            let last = wires.pop().unwrap();
            for wire in wires {
                prop_assert_eq!(reassembly.take(wire, &rules(&kinds), now), Ok(None));
            }
            prop_assert_eq!(reassembly.take(last, &rules(&kinds), now), Ok(Some(frame)));
            prop_assert!(reassembly.unfinished.is_none());
        }

        #[test]
        fn no_sequence_of_bytes_makes_it_panic_or_hold_too_much(
            messages in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..12), any::<bool>()), 0..40)
        ) {
            let (kinds, now) = (kinds(), Instant::now());
            let mut reassembly = Reassembly::default();
            for (kind, mut bytes, honest) in messages {
                let kind = [SEGMENT_START, SEGMENT_CHUNK, SEGMENT_CHUNK, 42_778][usize::from(kind)];
                if honest && kind == SEGMENT_START {
                    bytes = [&[0, 9][..], &length(START_DATA), &[0xa7, 0x1a], &vec![1; START_DATA - 2]].concat();
                } else if honest && kind == SEGMENT_CHUNK {
                    bytes = [length(CHUNK_DATA).as_slice(), &vec![1; CHUNK_DATA]].concat();
                }
                if reassembly.take(Wire { kind, bytes }, &rules(&kinds), now).is_err() {
                    // The peer is disconnected and its reassembly thrown away.
                    reassembly = Reassembly::default();
                }
                let held = reassembly.unfinished.as_ref().and_then(|whole| whole.bytes.as_ref()).map_or(0, Vec::len);
                prop_assert!(held <= 1 << 20);
            }
        }
    }
}
