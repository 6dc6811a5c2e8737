//! The clock, against the clocks of others.

use super::ask::Asker;
use super::finding::Finding;
use crate::units::{Time, HOUR};

/// Seconds by which the clock may differ: a `Date` header is whole seconds, and answers take a moment.
const TOLERANCE: u32 = 5;
const WHY: &str = "hours are frozen and fixings are said by this clock; a wrong one misses hours or says prices of \
    another time, and neither can be taken back";
const REMEDY: &str = "run chrony or systemd-timesyncd and see `timedatectl`; start the oracle again when it is right";

/// Somebody else's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Whose.
    pub name: String,
    /// What it said.
    pub said: Time,
    /// What this machine's clock said at that moment.
    pub here: Time,
}

impl Witness {
    /// Seconds this machine is ahead; negative when it is behind.
    fn ahead(&self) -> i64 {
        i64::from(self.here.0) - i64::from(self.said.0)
    }
}

/// Judges the clock by the median of what others say: one wrong server proves nothing. An oracle that people rely on
/// must have somebody to ask.
pub fn look_at_clock(witnesses: &[Witness], relied_on: bool) -> Finding {
    let mut ahead: Vec<i64> = witnesses.iter().map(Witness::ahead).collect();
    ahead.sort_unstable();
    let Some(median) = ahead.get(ahead.len() / 2).copied() else {
        let (what, remedy) = (
            "nobody was there to compare the clock with",
            "name venues or a bitcoind in the config file, and see `timedatectl`",
        );
        return match relied_on {
            true => Finding::trouble("clock", what, WHY, remedy),
            false => Finding::note("clock", what, WHY, remedy),
        };
    };
    let named: Vec<&str> = witnesses.iter().map(|witness| witness.name.as_str()).collect();
    let named = named.join(", ");
    if median.unsigned_abs() <= u64::from(TOLERANCE) {
        return Finding::fine("clock", format!("within {TOLERANCE} s of {named}"));
    }
    let way = if median > 0 { "ahead of" } else { "behind" };
    Finding::trouble("clock", format!("{} s {way} {named}", median.unsigned_abs()), WHY, REMEDY)
}

/// A bitcoind's chain bounds the time from below: the median time of its last blocks is in the past.
pub async fn look_at_bitcoind(asker: &Asker, url: &str, now: Time) -> Finding {
    match asker.rpc(url, "getblockchaininfo").await {
        Err(error) => Finding::trouble(
            "clock",
            format!("bitcoind does not answer: {error:#}"),
            "it was named to compare the clock with",
            "start it, or correct its address, user and password in the config file",
        ),
        Ok(info) => {
            let time =
                |name: &str| info.get(name).and_then(serde_json::Value::as_u64).and_then(|t| u32::try_from(t).ok());
            match (time("mediantime"), time("time")) {
                (Some(median), Some(tip)) => judge_chain(Time(median), Time(tip), now),
                _ => Finding::note("clock", "bitcoind does not say the time of its blocks", WHY, "update bitcoind"),
            }
        }
    }
}

fn judge_chain(median: Time, tip: Time, now: Time) -> Finding {
    if median > now {
        let what = format!("{now}, but bitcoind's last blocks have a median time of {median}");
        return Finding::trouble("clock", what, WHY, REMEDY);
    }
    if now.since(tip) > 6 * HOUR {
        let what = format!("bitcoind's last block is {} h old", now.since(tip) / HOUR);
        let remedy = "look whether bitcoind is in sync; if it is, this machine's clock is ahead";
        return Finding::trouble("clock", what, WHY, remedy);
    }
    Finding::fine("clock", format!("not before bitcoind's last blocks ({median})"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn witness(ahead: i64) -> Witness {
        let here = Time(1_584_007_200);
        let said = Time(u32::try_from(i64::from(here.0) - ahead).unwrap());
        Witness { name: format!("w{ahead}"), said, here }
    }

    #[test]
    fn one_wrong_server_proves_nothing_and_most_of_them_do() {
        assert_eq!(look_at_clock(&[], false).level, Level::Note);
        assert_eq!(look_at_clock(&[], true).level, Level::Trouble);
        let look_at_clock = |witnesses: &[Witness]| look_at_clock(witnesses, true);
        assert_eq!(look_at_clock(&[witness(1), witness(-2), witness(4_000)]).level, Level::Fine);
        let found = look_at_clock(&[witness(90), witness(88), witness(0)]);
        assert_eq!(found.level, Level::Trouble);
        assert!(found.what.contains("88 s ahead of"), "{found}");
        assert!(look_at_clock(&[witness(-60)]).what.contains("60 s behind"));
    }

    #[test]
    fn a_clock_before_the_chain_or_hours_past_its_tip_is_trouble() {
        let now = Time(1_584_007_200);
        let at = |seconds: i64| Time(u32::try_from(i64::from(now.0) + seconds).unwrap());
        assert_eq!(judge_chain(at(-3_600), at(-600), now).level, Level::Fine);
        assert_eq!(judge_chain(at(-3_600), at(1_800), now).level, Level::Fine, "a block's time may be ahead");
        assert_eq!(judge_chain(at(60), at(3_600), now).level, Level::Trouble);
        assert_eq!(judge_chain(at(-90_000), at(-86_400), now).level, Level::Trouble);
    }
}
