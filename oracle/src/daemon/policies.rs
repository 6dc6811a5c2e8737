//! The policies an oracle has published, on disk: `policies.json` in the data folder. Only ever added to.

use crate::price::policy::{Policies, Policy};
use crate::units::{Time, HOUR};
use anyhow::{bail, Context};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Largest file read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Reads what was published and adds the policy of a file, if it is a new one. Without a file, and with nothing
/// published, the sample's numbers count.
///
/// An oracle without a file that published the sample's numbers when answers were read in another way adopts the new way
/// from the next hour on; it must be `alone`, for replicas would name different hours, which contradicts itself.
///
/// # Errors
/// When a file cannot be read or written, or the policy does not follow those before.
pub fn publish(data: &Path, file: Option<&Path>, alone: bool, now: Time) -> anyhow::Result<Policies> {
    let mut policies = published(data)?;
    let policy = match file {
        Some(path) => {
            let text = bounded(path).with_context(|| format!("read policy file {}", path.display()))?;
            Policy::parse(&text).with_context(|| format!("understand policy file {}", path.display()))?
        }
        None => {
            match (successor(&policies, now), alone) {
                (Some(next), _) if policies.all().is_empty() => next,
                (Some(next), true) => {
                    let (version, effective) = (next.version, next.effective);
                    tracing::info!("price policy version {version} counts from {effective}: the newest way to read venues' answers");
                    next
                }
                (Some(_), false) => {
                    tracing::warn!(
                    "the price policy reads venues' answers in the old way, by which Gemini hardly ever counts; give all \
                     replicas the same policy file with the next version, `reading = 2` and a full hour to come"
                );
                    return Ok(policies);
                }
                (None, _) => return Ok(policies),
            }
        }
    };
    if policies.adopt(policy, now)? {
        write(data, policies.all()).context("keep the published policies")?;
    }
    Ok(policies)
}

/// What was published before.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub fn published(data: &Path) -> anyhow::Result<Policies> {
    Policies::new(read(data)?).context("understand the published policies")
}

/// Refuses to go on with fewer versions than the newest tick names. They were lost, and one published anew under a number
/// that was signed before would prove that the oracle contradicts itself.
///
/// # Errors
/// When the version of the newest tick is not among them.
pub fn check_whole(policies: &Policies, ticked: Option<u32>) -> anyhow::Result<()> {
    match ticked {
        Some(version) if policies.all().iter().all(|policy| policy.version != version) => bail!(
            "policies.json is missing or older than the tick log, whose last tick is of policy version {version}: put the \
             newest copy back (whoever kept /v1/policy has the numbers). A version signed twice with other numbers would \
             prove that this oracle contradicts itself"
        ),
        _ => Ok(()),
    }
}

/// Refuses what would contradict the other replicas of this oracle: to begin with the sample's numbers where they have
/// published policies or said anything already, and to publish a version that one of them has signed with other numbers.
/// `theirs` is what each of them publishes, and where; `spoken` is whether the shared ledger holds anything.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn check_beside(
    own: &Policies,
    file: Option<&Path>,
    theirs: &[(String, Vec<Policy>)],
    spoken: bool,
) -> anyhow::Result<()> {
    let published = theirs.iter().find(|(_, policies)| !policies.is_empty());
    if own.all().is_empty() && file.is_none() && (spoken || published.is_some()) {
        let found = match published {
            Some((peer, policies)) => format!("{peer} publishes {} policies", policies.len()),
            None => "its ledger holds what other replicas have said".into(),
        };
        bail!(
            "policies.json is missing in the data folder of this replica, and {found}: copy policies.json from a replica \
             that runs, or, where none has a live feed yet, give this one a policy file by `--policy`. The sample's numbers, signed under a version that counts already, would prove that this oracle \
             contradicts itself"
        );
    }
    for (peer, policies) in theirs {
        let other = |policy: &&Policy| own.all().iter().any(|own| own.version == policy.version && own != *policy);
        if let Some(policy) = policies.iter().find(other) {
            bail!(
                "policies.json has other numbers for version {} than {peer} publishes, signed by this oracle's key: find out \
                 which is the old one, and give all replicas the same file",
                policy.version
            );
        }
    }
    Ok(())
}

/// What an oracle without a file has next: the first, or the sample's numbers of today after those of before.
fn successor(policies: &Policies, now: Time) -> Option<Policy> {
    let Some(newest) = policies.all().last() else { return Some(Policy::default()) };
    let (version, effective) = (newest.version.checked_add(1)?, now.max(newest.effective).hour_floor().plus(HOUR)?);
    newest.is_first_default().then(|| Policy { version, effective, ..Policy::default() })
}

fn bounded(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LARGEST {
        bail!("it has more than {LARGEST} bytes");
    }
    Ok(text)
}

fn read(data: &Path) -> anyhow::Result<Vec<Policy>> {
    let path = data.join("policies.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = bounded(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged; restore it from a copy", path.display()))
}

fn write(data: &Path, policies: &[Policy]) -> anyhow::Result<()> {
    let (path, beside) = (data.join("policies.json"), data.join("policies.next"));
    let mut file = File::create(&beside)?;
    file.write_all(serde_json::to_string_pretty(policies)?.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)?;
    File::open(data)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::policy::SAMPLE;
    use crate::price::venue::Reading;

    #[test]
    fn a_published_policy_stays_and_a_new_one_is_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path(), folder.path().join("policy.toml"));
        let now = Time(1_584_007_300);
        assert_eq!(publish(data, None, true, now).unwrap().all(), [Policy::default()]);
        std::fs::write(&file, SAMPLE.replace("quorum = 3", "quorum = 4")).unwrap();
        let error = format!("{:#}", publish(data, Some(&file), true, now).unwrap_err());
        assert!(error.contains("make it version 2"), "{error}");
        let second = SAMPLE.replace("version = 1", "version = 2").replace("effective = 0", "effective = 1584010800");
        std::fs::write(&file, second).unwrap();
        assert_eq!(publish(data, Some(&file), true, now).unwrap().all().len(), 2);
        let later = Time(1_584_020_000);
        assert_eq!(publish(data, Some(&file), true, later).unwrap().all().len(), 2, "the same file again is no news");
        assert_eq!(publish(data, None, true, later).unwrap().at(later).map(|policy| policy.version), Some(2));
    }

    #[test]
    fn an_oracle_without_a_file_reads_answers_the_new_way_from_the_next_hour_and_replicas_wait_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (data, now) = (folder.path(), Time(1_584_007_300));
        let before = Policy { reading: Reading::First, ..Policy::default() };
        write(data, std::slice::from_ref(&before)).unwrap();
        assert_eq!(publish(data, None, false, now).unwrap().all(), std::slice::from_ref(&before));
        let next = Policy { version: 2, effective: Time(1_584_010_800), ..Policy::default() };
        assert_eq!(publish(data, None, true, now).unwrap().all(), [before.clone(), next.clone()]);
        let later = Time(1_584_100_000);
        assert_eq!(publish(data, None, true, later).unwrap().all(), [before, next], "once");
        // An operator's own numbers are the operator's.
        let own = Policy { reading: Reading::First, quorum: 4, ..Policy::default() };
        write(data, std::slice::from_ref(&own)).unwrap();
        assert_eq!(publish(data, None, true, now).unwrap().all(), [own]);
    }

    #[test]
    fn a_new_replica_without_its_policies_begins_with_no_numbers_of_its_own_beside_others() {
        let [none, some] = [Policies::default(), Policies::new(vec![Policy::default()]).unwrap()];
        let peer = |policies: &[Policy]| vec![("https://other.example".to_owned(), policies.to_vec())];
        let said = |own: &Policies, file: Option<&Path>, theirs: &[(String, Vec<Policy>)], spoken| {
            check_beside(own, file, theirs, spoken).unwrap_err().to_string()
        };
        // Nobody has said anything: the first of several.
        check_beside(&none, None, &[], false).unwrap();
        check_beside(&none, None, &peer(&[]), false).unwrap();
        let missing = said(&none, None, &peer(some.all()), false);
        assert!(missing.contains("other.example publishes 1 policies: copy policies.json"), "{missing}");
        let missing = said(&none, None, &[], true);
        assert!(missing.contains("ledger holds what other replicas have said: copy policies.json"), "{missing}");
        // With its own, or an operator's file, it begins.
        check_beside(&some, None, &peer(some.all()), true).unwrap();
        check_beside(&none, Some(Path::new("policy.toml")), &peer(some.all()), true).unwrap();
        let other = Policy { quorum: 4, ..Policy::default() };
        let told = said(&some, None, &peer(&[other]), true);
        assert!(told.contains("other numbers for version 1 than https://other.example"), "{told}");
    }

    #[test]
    fn policies_that_the_tick_log_knows_and_the_folder_does_not_are_asked_for() {
        let [first, second] =
            [1, 2].map(|version| Policy { version, effective: Time(HOUR * (version - 1)), ..Policy::default() });
        let whole = Policies::new(vec![first.clone(), second]).unwrap();
        check_whole(&whole, Some(2)).unwrap();
        check_whole(&Policies::default(), None).unwrap();
        for lost in [Policies::new(vec![first]).unwrap(), Policies::default()] {
            let said = check_whole(&lost, Some(2)).unwrap_err().to_string();
            assert!(said.contains("policy version 2") && said.contains("put the newest copy back"), "{said}");
        }
    }
}
