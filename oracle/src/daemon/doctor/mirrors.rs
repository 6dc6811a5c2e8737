//! Mirrors: the same key, and the same words about the same hours.

use super::ask::Asker;
use super::finding::Finding;
use crate::bundle::BundlePage;
use crate::units::{Day, Time, HOUR};
use crate::wire::{Pubkey, SignedLows};
use bitcoin::key::XOnlyPublicKey;
use std::collections::BTreeMap;

const WHY: &str =
    "whoever asks the mirror must get the same answer; two answers about one hour are an equivocation, and \
    two fixings of one hour give the key away";

const TWO_WORDS: &str = "stop both at once, keep their data folders, and find out which was restored from an old copy";
const OLD_WORDS: &str =
    "see that it follows, and that no cache before it keeps what should last 2 s: nodes take such lows for no answer";

/// Compares a mirror with the daemon at `own`: key, and what both call final on the day of `now` and the day before.
pub async fn look_at_mirror(asker: &Asker, own: &str, mirror: &str, key: XOnlyPublicKey, now: Time) -> Finding {
    let trouble = |what: String, remedy: &str| Finding::trouble("mirror", format!("{mirror}: {what}"), WHY, remedy);
    match asker.json::<Pubkey>(&format!("{mirror}/pubkey")).await {
        Err(error) => return trouble(format!("does not answer: {error:#}"), "start it, or take it off the list"),
        Ok(said) if said.pubkey != key => {
            let what = format!("has key {}, this oracle's is {key}", said.pubkey);
            return trouble(what, "take it off the list until it has been found out whose it is");
        }
        Ok(_) => {}
    }
    let today = now.day();
    for day in [Day(today.0.saturating_sub(1)), today] {
        match compare(asker, own, mirror, key, (day, now)).await {
            Ok(None) => {}
            Ok(Some((what, remedy))) => return trouble(what, remedy),
            Err(error) => return trouble(format!("{error:#}"), "look at the logs of both"),
        }
    }
    Finding::fine("mirror", format!("{mirror}: same key, same words about yesterday and today"))
}

/// The first difference about a day, and what to do.
async fn compare(
    asker: &Asker,
    own: &str,
    mirror: &str,
    key: XOnlyPublicKey,
    (day, now): (Day, Time),
) -> anyhow::Result<Option<(String, &'static str)>> {
    let mut lows = Vec::new();
    let mut fixings = Vec::new();
    for url in [own, mirror] {
        let said: SignedLows = asker.json(&format!("{url}/v1/lows/{day}")).await?;
        said.verify(&key)?;
        lows.push(said);
        let page: BundlePage = asker.json(&format!("{url}/v1/fixings/{day}?only=attestations")).await?;
        let said: BTreeMap<u32, Option<u32>> = page.attestations.iter().map(|one| (one.index, one.dollars)).collect();
        fixings.push(said);
    }
    if let [ours, theirs] = lows.as_slice() {
        if let Some(hour) = differing_low(ours, theirs, day) {
            return Ok(Some((format!("says another low for {hour}, an hour that both call final"), TWO_WORDS)));
        }
        if let Some(what) = older(ours, theirs, now) {
            return Ok(Some((what, OLD_WORDS)));
        }
    }
    if let [ours, theirs] = fixings.as_slice() {
        let differs = ours.iter().find(|(index, dollars)| theirs.get(index).is_some_and(|other| other != *dollars));
        if let Some((index, dollars)) = differs {
            let other = theirs.get(index).copied().flatten();
            let shown = |price: Option<u32>| price.map_or("no price".to_owned(), |price| format!("{price} dollars"));
            let what = format!("fixed {day} {index:02}:00 at {}, this oracle at {}", shown(other), shown(*dollars));
            return Ok(Some((what, TWO_WORDS)));
        }
    }
    Ok(None)
}

/// That a mirror's lows are older than an honest oracle's are at `now`, and this oracle's are not.
fn older(ours: &SignedLows, theirs: &SignedLows, now: Time) -> Option<String> {
    let old = theirs.unheard(theirs.day.end()?, now).filter(|_| ours.frozen_until > theirs.frozen_until)?;
    Some(format!(
        "serves lows of {} that end at {}; since {} they are too old to count",
        theirs.day,
        old.from,
        old.since()
    ))
}

/// The first hour final on both sides with two lows.
fn differing_low(ours: &SignedLows, theirs: &SignedLows, day: Day) -> Option<Time> {
    let until = ours.frozen_until.min(theirs.frozen_until);
    let hours = (0u32..24).filter_map(|hour| day.start()?.plus(hour * HOUR));
    hours
        .zip(ours.lows.iter().zip(&theirs.lows))
        .find(|(hour, (a, b))| a != b && hour.plus(HOUR).is_some_and(|end| end <= until))
        .map(|(hour, _)| hour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use secp256k1_zkp::SecretKey;

    #[test]
    fn a_mirror_whose_lows_are_too_old_to_count_is_told_and_one_that_is_a_moment_behind_is_not() {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        let day = Day(18_333);
        let at = |seconds: u32| day.start().unwrap().plus(seconds).unwrap();
        let list = |hour: u32| SignedLows::sign(&keys, day, at(hour * HOUR), [None; 24]);
        assert_eq!(older(&list(14), &list(13), at(14 * HOUR + 899)), None);
        let said = older(&list(14), &list(13), at(14 * HOUR + 900)).unwrap();
        assert!(said.contains("20200312") && said.contains(&at(13 * HOUR).to_string()), "{said}");
        assert_eq!(older(&list(13), &list(13), at(15 * HOUR)), None, "this oracle is behind itself, and says so");
    }
}
