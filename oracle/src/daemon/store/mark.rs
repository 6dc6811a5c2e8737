//! The watermark on disk: `watermark` beside the key, replaced before anything newer is served.

use crate::announce::AnnounceError;
use crate::crash;
use crate::statement::Statement;
use crate::watermark::{SignedWatermark, Watermark};
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::schnorr::Signature;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Largest watermark file read, in bytes.
const LARGEST: u64 = 4_096;

/// The watermark file of a data folder.
pub fn path(data: &Path) -> PathBuf {
    data.join("watermark")
}

/// The watermark of a data folder, `None` before the first.
///
/// # Errors
/// When the file cannot be read or is not a watermark.
pub fn read(data: &Path) -> anyhow::Result<Option<Watermark>> {
    let path = path(data);
    let Some(text) = text(&path)? else { return Ok(None) };
    let mark = serde_json::from_str(&text);
    mark.map(Some).with_context(|| format!("{} is not a watermark; put back a copy of it", path.display()))
}

/// Is there a watermark in a data folder?
///
/// # Errors
/// As [`read`].
pub fn has_watermark(data: &Path) -> anyhow::Result<bool> {
    Ok(read(data)?.is_some())
}

/// Replaces the watermark of a data folder; durable when it returns.
///
/// # Errors
/// When the disk fails.
pub fn write(data: &Path, mark: &Watermark) -> anyhow::Result<()> {
    replace(&path(data), &serde_json::to_string(mark)?).context("sync the watermark")
}

/// Writes the watermark of a data folder to a file, signed. The oracle may be running.
///
/// # Errors
/// When there is none yet, it is another key's, the file holds a newer one or something else, or it cannot be written.
pub fn export(
    data: &Path,
    key: &XOnlyPublicKey,
    sign: impl FnOnce(&Statement) -> Result<Signature, AnnounceError>,
    to: &Path,
) -> anyhow::Result<Watermark> {
    let Some(mark) = read(data)? else {
        bail!("{} holds no watermark yet: the oracle there has never run", data.display());
    };
    if mark.key != *key {
        bail!("the watermark in {} is oracle {}'s, the key there is {key}", data.display(), mark.key);
    }
    // Whoever keeps the newest copy in one file must not lose it to a restored, older folder.
    if let Some(text) = text(to)? {
        let kept: SignedWatermark = serde_json::from_str(&text)
            .with_context(|| format!("{} is no watermark; name another file", to.display()))?;
        let kept = kept.verify(&mark.key).with_context(|| format!("{}; name another file", to.display()))?;
        if kept.records > mark.records || kept.frozen_until > mark.frozen_until {
            bail!(
                "{} holds {} records, final until {}; the ledger in {} has {}, final until {}: it is older. Find the newer \
                 ledger before this oracle runs",
                to.display(),
                kept.records,
                kept.frozen_until,
                data.display(),
                mark.records,
                mark.frozen_until
            );
        }
    }
    let signature = sign(&mark.statement())?;
    let text = serde_json::to_string_pretty(&SignedWatermark { watermark: mark, signature })?;
    replace(to, &format!("{text}\n")).with_context(|| format!("write {}", to.display()))?;
    Ok(mark)
}

/// An exported watermark, if it is this oracle's.
///
/// # Errors
/// When it cannot be read, or the oracle did not sign it.
pub fn read_signed(path: &Path, oracle: &XOnlyPublicKey) -> anyhow::Result<Watermark> {
    let text = text(path)?.with_context(|| format!("there is no watermark file {}", path.display()))?;
    let signed: SignedWatermark = serde_json::from_str(&text)
        .with_context(|| format!("{} is not what `watermark export` wrote", path.display()))?;
    signed.verify(oracle).with_context(|| format!("watermark file {}", path.display()))
}

fn text(path: &Path) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    Ok(Some(text))
}

/// Replaces a small file; on the disk when it returns. A reader sees the old text or the new.
///
/// # Errors
/// When the disk fails.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".next");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside).with_context(|| format!("write {}", beside.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    crash::point("oracle-replacing");
    std::fs::rename(&beside, path)?;
    crash::point("oracle-replaced");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(())
}
