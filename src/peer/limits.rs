//! The bounds on everything a peer can make grow.

use std::time::{Duration, Instant};

/// The bounds. A node holds at most about
/// `max_inbound × (2 × max_message + inbox_bytes + outbox_bytes)` bytes for peers it did not choose, as much for each it
/// has an open loan with or keeps the address of, and some 10 kB for each of `max_proving`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes of one frame's payload, in both directions.
    pub max_message: usize,
    /// How long the segments of one message may take to arrive.
    pub reassembly_time: Duration,
    /// Bytes read from one peer per second, once `burst_bytes` are used up. A faster peer is read more slowly.
    pub bytes_per_second: u32,
    pub burst_bytes: u32,
    /// Messages read from one peer per second, once `burst_messages` are used up. A faster peer is read more slowly.
    pub messages_per_second: u32,
    pub burst_messages: u32,
    /// Reading from a peer pauses while this many bytes of its messages wait for the node.
    pub inbox_bytes: usize,
    /// Reading from a peer pauses while this many of its messages wait for the node.
    pub inbox_messages: usize,
    /// The most bytes waiting to be sent to one peer.
    pub outbox_bytes: usize,
    /// Events handed to the node that it has not taken, all peers together; each can be `max_message` long.
    pub event_queue: usize,
    /// Connections that peers opened and on which no key is proved yet; a newcomer takes the oldest's place.
    pub max_proving: usize,
    /// Connections that strangers opened, all together: peers with neither an open loan nor a kept address.
    pub max_inbound: usize,
    /// Connections that strangers opened from one IP address, or one IPv6 /64.
    pub max_inbound_per_ip: usize,
    /// A stranger who has said nothing for this long gives way to a newcomer.
    pub silence_time: Duration,
    /// Two connections that each side opened within this time have crossed: both sides keep the same one.
    pub crossing_time: Duration,
    /// How long a peer may take to prove its key.
    pub handshake_time: Duration,
    /// How long one try to reach a peer may take.
    pub connect_time: Duration,
    /// The wait after the first failed try; it doubles, with a random half added or taken away.
    pub first_backoff: Duration,
    pub most_backoff: Duration,
    /// How often peers are pinged. A peer that says nothing for two of these is disconnected.
    pub ping_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message: 4 << 20,
            reassembly_time: Duration::from_secs(60),
            bytes_per_second: 2 << 20,
            burst_bytes: 16 << 20,
            messages_per_second: 100,
            burst_messages: 1_000,
            inbox_bytes: 1 << 20,
            inbox_messages: 256,
            outbox_bytes: 8 << 20,
            event_queue: 16,
            max_proving: 32,
            max_inbound: 32,
            max_inbound_per_ip: 16,
            silence_time: Duration::from_secs(60),
            crossing_time: Duration::from_secs(2),
            handshake_time: Duration::from_secs(5),
            connect_time: Duration::from_secs(10),
            first_backoff: Duration::from_secs(1),
            most_backoff: Duration::from_secs(60),
            ping_every: Duration::from_secs(10),
        }
    }
}

/// A token bucket that is allowed to go into debt: the cost is known only after the fact, so it says how long to wait.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    per_second: f64,
    most: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Bucket {
        let most = f64::from(burst.max(1));
        Bucket { tokens: most, per_second: f64::from(per_second.max(1)), most, at: now }
    }

    /// Takes `count` tokens and returns how long to wait until the debt, if any, is paid.
    pub(super) fn take(&mut self, count: u32, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.tokens = (self.tokens + gained).min(self.most) - f64::from(count);
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_keeps_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 1_000, start);
        assert_eq!(bucket.take(1_000, start), Duration::ZERO);
        assert_eq!(bucket.take(50, start), Duration::from_millis(500));
        assert_eq!(bucket.take(0, start + Duration::from_millis(500)), Duration::ZERO);
        // A rest fills it up to the burst and no further.
        assert_eq!(bucket.take(1_100, start + Duration::from_secs(3_600)), Duration::from_secs(1));
    }
}
