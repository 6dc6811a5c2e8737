//! The daemon itself: does it answer, and has it kept up?

use super::ask::Asker;
use super::finding::Finding;
use crate::daemon::store::MOST_OFF;
use crate::units::{Time, HOUR};
use crate::wire::{Pubkey, Status};
use bitcoin::key::XOnlyPublicKey;

/// Seconds the daemon may be behind.
const BEHIND: u32 = 60;
/// Seconds from the end of an hour to its freezing, and as much again.
const FREEZING: u32 = 240;

/// Asks the daemon at a base URL how far it is; and its key.
pub async fn look_at_service(asker: &Asker, url: &str, now: Time) -> (Vec<Finding>, Option<XOnlyPublicKey>) {
    let away = |error: anyhow::Error| {
        Finding::trouble(
            "service",
            format!("the daemon at {url} does not answer: {error:#}"),
            "nobody hears this oracle",
            "systemctl status hypothec-oracle; journalctl -u hypothec-oracle",
        )
    };
    let key = match asker.json::<Pubkey>(&format!("{url}/pubkey")).await {
        Ok(said) => said.pubkey,
        Err(error) => return (vec![away(error)], None),
    };
    let found = match asker.json::<Status>(&format!("{url}/v1/status")).await {
        Ok(status) => judge(&status, now),
        Err(error) => vec![away(error)],
    };
    (found, Some(key))
}

fn judge(status: &Status, now: Time) -> Vec<Finding> {
    let behind = now.since(status.clock);
    let clock = if behind > BEHIND {
        Finding::trouble(
            "service",
            format!("the daemon is {behind} s behind: it has said everything up to {}", status.clock),
            "what happens now is not attested",
            "read its log: a feed that fails, or a disk that is slow",
        )
    } else {
        Finding::fine("service", format!("it has said everything up to {}", status.clock))
    };
    let price = match status.spot_cents {
        Some(cents) => Finding::fine("service", format!("its price is {cents}")),
        None => Finding::trouble(
            "service",
            "it has no price",
            "an hour without a price is missed, and stays missed",
            "look at the venues; with the manual feed, set a price",
        ),
    };
    let mut found = vec![clock, price];
    if status.frozen_until.since(now) > HOUR {
        found.push(Finding::trouble(
            "service",
            format!("everything up to {} is final, but it is {now}", status.frozen_until),
            "the clock was ahead when that was said, or this one is behind now; no low and no fixing can be said until then",
            "if the clock here is right, this key is done for until then: make a new key, rotate to it, and tell the users",
        ));
    }
    found.extend(status.clock_ahead.map(judge_replica));
    found.extend(status.alarm.as_ref().map(|alarm| {
        Finding::trouble("service", format!("its alarm: {alarm}"), "nothing new is said meanwhile", "do what it says")
    }));
    if now.since(status.frozen_until) > HOUR + FREEZING {
        found.push(Finding::trouble(
            "service",
            format!("its last final hour ended at {}", status.frozen_until),
            "nodes settle by final hours",
            "read its log; it freezes an hour two minutes after its end",
        ));
    }
    found
}

/// The clock of a replica against that of the database it shares.
fn judge_replica(ahead: i64) -> Finding {
    if ahead.abs() <= MOST_OFF {
        return Finding::fine("clock", format!("within {MOST_OFF} s of the replicas' database"));
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    Finding::trouble(
        "clock",
        format!("{} s {way} the replicas' database", ahead.abs()),
        "a replica whose clock is off says prices of another time; it does not speak until that is mended",
        "run chrony or systemd-timesyncd here and on the database's machine, and see `timedatectl`",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::units::Cents;

    #[test]
    fn a_daemon_that_lags_or_has_no_price_is_trouble() {
        let now = Time(1_584_007_200);
        let good = Status {
            clock: now,
            frozen_until: Time(now.0 - HOUR),
            spot_cents: Some(Cents(1)),
            lows: 0,
            fixings: 0,
            alarm: None,
            clock_ahead: Some(-5),
        };
        assert!(judge(&good, now).iter().all(|one| one.level == Level::Fine));
        let troubles = |status: &Status| judge(status, now).iter().filter(|one| one.level == Level::Trouble).count();
        assert_eq!(troubles(&Status { spot_cents: None, ..good.clone() }), 1);
        assert_eq!(troubles(&Status { clock: Time(now.0 - 61), ..good.clone() }), 1);
        assert_eq!(troubles(&Status { frozen_until: Time(now.0 - 2 * HOUR), ..good.clone() }), 1);
        let ahead = Status { frozen_until: Time(4_100_000_000), ..good.clone() };
        assert_eq!(troubles(&ahead), 1);
        assert!(judge(&ahead, now).iter().any(|one| one.to_string().contains("make a new key")));
        assert_eq!(troubles(&Status { alarm: Some("no price".into()), ..good.clone() }), 1);
        let off = judge(&Status { clock_ahead: Some(-6), ..good }, now);
        assert!(off.iter().any(|one| one.level == Level::Trouble && one.what.contains("6 s behind")), "{off:?}");
    }
}
