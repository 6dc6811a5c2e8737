//! The live feed's venues, asked once and judged as the feed itself would.

use super::finding::Finding;
use crate::daemon::feed::fetch::{Fetcher, Table};
use crate::daemon::feed::{self, Venues};
use crate::price::policy::Policy;
use crate::price::reckon::Reckoner;
use crate::price::venue::Venue;
use crate::units::Time;
use std::collections::BTreeMap;
use std::time::Duration;

const WHY: &str = "a price needs a quorum of venues; below it nothing is attested";

/// One finding for each venue of the policy, and one for the price they make together. `bases` are base URLs that stand
/// in for the venues' own.
///
/// # Errors
/// When the HTTP client cannot be made.
pub async fn look_at_live(
    policy: &Policy,
    bases: &BTreeMap<Venue, String>,
    patience: Duration,
    now: Time,
) -> anyhow::Result<Vec<Finding>> {
    let table = Table::default();
    Fetcher::new(&policy.venues, bases, patience, table.clone())?.round(now).await;
    let inputs = table.inputs(&policy.venues, now, policy.max_age_seconds);
    let made = Reckoner::default().step(policy, now, &inputs).aggregate;
    let judged = made.verdicts.iter().map(|verdict| match &verdict.price {
        Ok(cents) => Finding::fine("venue", format!("{}: {cents}, counts", verdict.venue)),
        Err(why) => {
            let what = format!("{}: {why}", verdict.venue);
            Finding::trouble("venue", what, WHY, "look at its status page, and at this machine's clock and way out")
        }
    });
    let mut found: Vec<Finding> = judged.collect();
    let count = format!("{} of {} venues count, {} must", made.used(), policy.venues.len(), policy.quorum);
    let needed = usize::try_from(policy.quorum).unwrap_or(usize::MAX);
    found.push(match made.median {
        Some(median) if made.used() <= needed => {
            Finding::note("price", format!("{median}; {count}: none may fail"), WHY, "see the venues above")
        }
        Some(median) => Finding::fine("price", format!("{median}; {count}")),
        None => Finding::trouble("price", format!("none; {count}"), WHY, "see the venues above"),
    });
    Ok(found)
}

/// The venues that have hardly counted of late, as the daemon saw them.
pub fn look_at_attendance(venues: &Venues) -> Vec<Finding> {
    let absent = venues.list.iter().filter_map(|venue| Some((venue, venue.absent.as_ref()?)));
    let trouble = |(venue, absent): (&feed::Venue, &String)| {
        Finding::trouble(
            "venue",
            format!("{}: {absent}", venue.name),
            "the price rests on fewer venues than the policy promises, and the next that fails may be one too many",
            "look at its status page and at this machine's clock and way out; if its interface has changed, a newer \
             version of this program reads it",
        )
    };
    absent.map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::daemon::harness::{street, Answer, START};

    #[tokio::test]
    async fn a_venue_that_does_not_count_is_named_with_its_reason_and_too_few_of_them_are_no_price() {
        let (venues, bases) = street(800_000).await;
        let look = || look_at_live(&POLICY, &bases, Duration::from_secs(5), START);
        static POLICY: std::sync::LazyLock<Policy> = std::sync::LazyLock::new(Policy::default);
        let troubles = |found: &[Finding]| {
            let bad = found.iter().filter(|one| one.level == Level::Trouble);
            bad.map(ToString::to_string).collect::<Vec<_>>()
        };
        let found = look().await.unwrap();
        assert!(found.len() == 6 && troubles(&found).is_empty(), "{found:?}");
        venues.set(Venue::Kraken, Answer::Status(500));
        venues.set(Venue::Gemini, Answer::Quote(900_000));
        let found = troubles(&look().await.unwrap());
        assert!(found.len() == 2 && found[0].contains("kraken") && found[0].contains("500"), "{found:?}");
        assert!(found[1].contains("gemini"), "{found:?}");
        let all = look().await.unwrap();
        assert!(
            all[5].level == Level::Note && all[5].what.contains("3 of 5 venues count, 3 must: none may fail"),
            "{all:?}"
        );
        venues.set(Venue::Bitstamp, Answer::Status(429));
        let found = troubles(&look().await.unwrap());
        assert!(found.len() == 4 && found[3].contains("2 of 5 venues count, 3 must"), "{found:?}");
    }

    #[test]
    fn a_venue_that_the_daemon_hardly_counts_is_trouble_in_words() {
        let venue = |name: &str, absent: Option<&str>| feed::Venue {
            name: name.into(),
            price: None,
            age: None,
            used: false,
            trouble: None,
            absent: absent.map(str::to_owned),
        };
        let said = "counted in 14 of the last 61 ticks (300 s): its quote is 45 s old";
        let found =
            look_at_attendance(&Venues { list: vec![venue("kraken", None), venue("gemini", Some(said))], quorum: 3 });
        assert!(found.len() == 1 && found[0].level == Level::Trouble, "{found:?}");
        assert_eq!(found[0].what, format!("gemini: {said}"));
    }
}
