//! The policies an oracle has published, on disk: `policies.json` in the data folder. Only ever added to.

use crate::price::policy::{Policies, Policy};
use crate::units::Time;
use anyhow::{bail, Context};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Largest file read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Reads what was published and adds the policy of a file, if it is a new one. Without a file, and with nothing
/// published, the sample's numbers count.
///
/// # Errors
/// When a file cannot be read or written, or the policy does not follow those before.
pub fn publish(data: &Path, file: Option<&Path>, now: Time) -> anyhow::Result<Policies> {
    let mut policies = Policies::new(read(data)?).context("understand the published policies")?;
    let policy = match file {
        Some(path) => {
            let text = bounded(path).with_context(|| format!("read policy file {}", path.display()))?;
            Policy::parse(&text).with_context(|| format!("understand policy file {}", path.display()))?
        }
        None if policies.all().is_empty() => Policy::default(),
        None => return Ok(policies),
    };
    if policies.adopt(policy, now)? {
        write(data, policies.all()).context("keep the published policies")?;
    }
    Ok(policies)
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

    #[test]
    fn a_published_policy_stays_and_a_new_one_is_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path(), folder.path().join("policy.toml"));
        let now = Time(1_584_007_300);
        assert_eq!(publish(data, None, now).unwrap().all(), [Policy::default()]);
        std::fs::write(&file, SAMPLE.replace("quorum = 3", "quorum = 4")).unwrap();
        let error = format!("{:#}", publish(data, Some(&file), now).unwrap_err());
        assert!(error.contains("make it version 2"), "{error}");
        let second = SAMPLE.replace("version = 1", "version = 2").replace("effective = 0", "effective = 1584010800");
        std::fs::write(&file, second).unwrap();
        assert_eq!(publish(data, Some(&file), now).unwrap().all().len(), 2);
        let later = Time(1_584_020_000);
        assert_eq!(publish(data, Some(&file), later).unwrap().all().len(), 2, "the same file again is no news");
        assert_eq!(publish(data, None, later).unwrap().at(later).map(|policy| policy.version), Some(2));
    }
}
