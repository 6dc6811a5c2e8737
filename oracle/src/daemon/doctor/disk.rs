//! The data folder: closed to others, writable, synced in time, with room.

use super::finding::Finding;
use crate::passphrase::check_private;
use crate::room::{self, Room, LOW};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A sync that takes longer delays every attestation.
const SLOW: Duration = Duration::from_secs(1);

/// Looks at a data folder.
pub fn look_at_disk(data: &Path) -> Vec<Finding> {
    let shown = data.display();
    if !data.is_dir() {
        return vec![Finding::trouble(
            "disk",
            format!("{shown} is not there"),
            "the ledger, and with it what was said, lives in it",
            "make it with `hypothec-oracle init`, or name the right folder with --data",
        )];
    }
    let private = match check_private(data) {
        Ok(()) => Finding::fine("disk", format!("{shown} is closed to others")),
        Err(error) => Finding::trouble(
            "disk",
            error.to_string(),
            "whoever can write there can change what this oracle says",
            &format!("chmod go= {shown}"),
        ),
    };
    let (mute, more) = (
        "an oracle that cannot write says nothing more",
        "make room; the ledger itself grows by a few MiB a year, the tick log by more",
    );
    let room = match Room::at(data) {
        // A full disk stops it in the middle of an hour.
        Ok(Room::Short(free)) => Finding::trouble("disk", format!("{free} are free in {shown}"), mute, more),
        Ok(Room::Low(free)) => Finding::note("disk", format!("{free} are free in {shown}"), mute, more),
        Ok(Room::Enough) => Finding::fine("disk", format!("more than {} MiB are free", LOW >> 20)),
        Err(error) => {
            let why = room::why(&error, data);
            Finding::note("disk", format!("free space in {shown} is unknown: {why}"), mute, "see `df`")
        }
    };
    vec![private, room, probe(data)]
}

/// Writes, syncs and reads back a small file, as the ledger does.
fn probe(data: &Path) -> Finding {
    let path = data.join(format!("doctor.{}", std::process::id()));
    let began = Instant::now();
    let done = write_and_sync(&path);
    let took = began.elapsed();
    let _ = std::fs::remove_file(&path);
    match done {
        Err(error) => Finding::trouble(
            "disk",
            format!("a file in {} cannot be written and synced: {error}", data.display()),
            "nothing is said before it is on disk, so nothing can be said",
            "run the doctor as the oracle's user; look at mount options, quota and `dmesg`",
        ),
        Ok(()) if took > SLOW => Finding::trouble(
            "disk",
            format!("writing and syncing one line took {} ms", took.as_millis()),
            "every attestation waits for it",
            "look at the disk's health and at what else writes to it",
        ),
        Ok(()) => Finding::fine("disk", format!("a line is written and synced in {} ms", took.as_millis())),
    }
}

fn write_and_sync(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(b"doctor\n")?;
    file.sync_all()?;
    if std::fs::read(path)? != b"doctor\n" {
        return Err(std::io::Error::other("it does not read back as it was written"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_open_or_missing_folder_is_trouble_and_the_probe_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let found = look_at_disk(folder.path());
        // How full the machine's own disk is says nothing of the doctor.
        let well = |one: &Finding| one.level == Level::Fine || one.what.contains("are free");
        assert!(found.iter().all(well), "{found:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(look_at_disk(folder.path())
            .iter()
            .any(|one| one.level == Level::Trouble && one.remedy.contains("chmod")));
        let nowhere = look_at_disk(&folder.path().join("nowhere"));
        assert!(matches!(nowhere.as_slice(), [one] if one.level == Level::Trouble));
    }
}
