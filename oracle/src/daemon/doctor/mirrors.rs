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
        match compare(asker, own, mirror, key, day).await {
            Ok(None) => {}
            Ok(Some(what)) => {
                let remedy =
                    "stop both at once, keep their data folders, and find out which was restored from an old copy";
                return trouble(what, remedy);
            }
            Err(error) => return trouble(format!("{error:#}"), "look at the logs of both"),
        }
    }
    Finding::fine("mirror", format!("{mirror}: same key, same words about yesterday and today"))
}

/// The first difference about a day.
async fn compare(
    asker: &Asker,
    own: &str,
    mirror: &str,
    key: XOnlyPublicKey,
    day: Day,
) -> anyhow::Result<Option<String>> {
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
            return Ok(Some(format!("says another low for {hour}, an hour that both call final")));
        }
    }
    if let [ours, theirs] = fixings.as_slice() {
        let differs = ours.iter().find(|(index, dollars)| theirs.get(index).is_some_and(|other| other != *dollars));
        if let Some((index, dollars)) = differs {
            let other = theirs.get(index).copied().flatten();
            let shown = |price: Option<u32>| price.map_or("no price".to_owned(), |price| format!("{price} dollars"));
            let what = format!("fixed {day} {index:02}:00 at {}, this oracle at {}", shown(other), shown(*dollars));
            return Ok(Some(what));
        }
    }
    Ok(None)
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
