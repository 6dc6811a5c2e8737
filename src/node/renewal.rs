//! The backup that renews itself: one encrypted file at a configured place, written anew after whatever was recorded.
//!
//! A half-signed repayment, or a contract, that a backup does not know is what makes an old backup dangerous. The file is
//! encrypted to a key that only the node's words give, so that no passphrase stays in memory; who has the words on paper and
//! this file has everything. It is replaced as a whole: at any moment there is one that opens.
//!
//! It holds every loan, so each writing costs what all of them take. A crossed margin line and a reminder of the due time sign
//! nothing, move no coin, and are found again by looking at price and clock: they wait for what matters, and for some minutes
//! at most.

use super::config::BackupTo;
use super::core::Core;
use super::data::write_private;
use super::jobs::{Key, Outcome};
use super::place::{Found, Place};
use super::{attention, backup};
use crate::protocol::{Event, Recorded};
use crate::store::Store;
use anyhow::Context;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What stands in the way when it cannot be written.
const TROUBLE: &str = "backup";
/// How soon one that failed is tried again: a disk may have been away.
const AGAIN: Duration = Duration::from_secs(30);
/// How often the place is looked at while nothing is owed: a disk that was away may be back, and behind.
const LOOKS: Duration = Duration::from_secs(10);
/// One that is under way for so long hangs: a disk in the network may be away, and whoever asks it waits for ever.
const HANGS: Duration = Duration::from_secs(30);
/// So long, in real time, what signs nothing waits for what does.
const WAITS: Duration = Duration::from_secs(600);
/// So long a stop waits for what is still to be written.
const AT_STOP: Duration = Duration::from_secs(5);

/// Where the backup is kept, and whether it is as new as the store.
#[derive(Debug, Default)]
pub struct Renewal {
    place: Option<Place>,
    due: bool,
    /// Since when a record waits that need not be in the file at once.
    waits: Option<Instant>,
    failed: Option<Instant>,
    /// Since when it is being written, or looked at.
    began: Option<Instant>,
    /// When it was last written or looked at.
    looked: Option<Instant>,
    /// What a person should know of the place.
    doubt: Option<String>,
}

impl Renewal {
    /// Due at once: what was recorded before a crash is not in the file.
    pub fn at(to: Option<BackupTo>, data: &Path, store: &Arc<dyn Store>) -> Renewal {
        let place = to.map(|to| Place::new(to, data.to_path_buf(), store.clone()));
        Renewal { due: place.is_some(), place, ..Renewal::default() }
    }

    /// This was recorded.
    fn owe(&mut self, recorded: &[Recorded], now: Instant) {
        if self.place.is_none() {
            return;
        }
        match recorded.iter().any(|one| matters(&one.event)) {
            true => self.due = true,
            false => self.waits = self.waits.or(Some(now)),
        }
    }

    /// Is it to be written now?
    fn is_due(&self, now: Instant) -> bool {
        self.due || self.waits.is_some_and(|since| now.duration_since(since) >= WAITS)
    }

    /// It is being written: with all that was recorded until now.
    fn begin(&mut self, now: Instant) {
        (self.due, self.waits, self.began) = (false, None, Some(now));
    }

    /// What people are told of one that is under way for too long.
    fn hangs(&self, now: Instant) -> Option<String> {
        let since = now.duration_since(self.began?);
        let file = self.place.as_ref()?.file().display();
        (since >= HANGS).then(|| {
            format!(
                "the backup file is not renewed ({file} hangs: its disk does not answer); what was signed since \
                 is only on this disk. Mount it anew, or name another file and start the node again"
            )
        })
    }
}

/// Must the file hold this at once? All but what signs nothing, moves no coin, and shows again by itself.
fn matters(event: &Event) -> bool {
    !matches!(event, Event::Margin { .. } | Event::DueSoon { .. })
}

impl Core {
    /// This was recorded.
    pub(super) fn owe_backup(&mut self, recorded: &[Recorded]) {
        self.renewal.owe(recorded, Instant::now());
    }

    /// Writes the file anew, where that is owed.
    pub(super) fn renew_backup(&mut self) {
        let now = Instant::now();
        if let Some(why) = self.renewal.hangs(now) {
            self.trouble(TROUBLE, why);
        }
        let Some(place) = self.renewal.place.clone() else { return };
        let waits = self.renewal.failed.is_some_and(|failed| failed.elapsed() < AGAIN);
        if waits || self.running.contains(&Key::Renew) {
            return;
        }
        if !self.renewal.is_due(now) {
            return self.look_at_backup(place);
        }
        let write = self.writing(place);
        self.renewal.begin(now);
        self.spawn(Key::Renew, None, [0; 32], async move {
            let done = tokio::task::spawn_blocking(write).await.map_err(anyhow::Error::from).and_then(|done| done);
            Ok(Outcome::Renewed(done.map_err(|error| format!("{error:#}"))))
        });
    }

    /// What writes the file with all that is recorded, and gives what is to be known of its place.
    fn writing(&self, place: Place) -> impl FnOnce() -> anyhow::Result<Option<String>> + Send + 'static {
        let (words, config) = (self.unlocked.words().clone(), self.unlocked.config().to_owned());
        let (store, holds) = (self.tools.store.clone(), self.loans_for_backup());
        move || {
            let doubt = place.renew(|| Ok(backup::seal_to_words(&words, &config, &*store)?))?;
            attention::note_backup(&*store, &holds)?;
            Ok(doubt)
        }
    }

    /// The node stops: what waits is written first, unless its disk is away or slow. Then the next start writes it.
    pub(super) async fn renew_at_stop(&mut self) {
        let owes = self.renewal.due || self.renewal.waits.is_some();
        let is_away = self.renewal.failed.is_some() || self.renewal.hangs(Instant::now()).is_some();
        let Some(place) = self.renewal.place.clone().filter(|_| owes && !is_away) else { return };
        let written = async {
            // Two that write one file would spoil it. What else ends meanwhile would have been cut off.
            while self.running.contains(&Key::Renew) {
                match self.jobs.join_next().await {
                    Some(Ok(done)) => self.running.remove(&done.key),
                    Some(Err(_)) => continue,
                    None => break,
                };
            }
            let write = self.writing(place);
            tokio::task::spawn_blocking(write).await.context("write the backup file")?
        };
        match tokio::time::timeout(AT_STOP, written).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => tracing::warn!("the backup file is not renewed: {why:#}"),
            Err(_) => tracing::warn!("the backup file is not renewed: its disk takes too long"),
        }
    }

    /// Looks whether the file on the disk that is there is the newest.
    fn look_at_backup(&mut self, place: Place) {
        let now = Instant::now();
        if self.renewal.looked.is_some_and(|looked| now.duration_since(looked) < LOOKS) {
            return;
        }
        (self.renewal.began, self.renewal.looked) = (Some(now), Some(now));
        self.spawn(Key::Renew, None, [0; 32], async move {
            let found = tokio::task::spawn_blocking(move || place.look()).await;
            // What cannot be read is told when it is to be written.
            let found = found.map_err(anyhow::Error::from).and_then(|found| found).unwrap_or_else(|error| {
                tracing::debug!("the backup's place: {error:#}");
                Found::Newest
            });
            Ok(Outcome::BackupSeen(found))
        });
    }

    /// The backup's place was looked at: one that is behind is written at once.
    pub(super) fn on_backup_seen(&mut self, found: Found) {
        self.renewal.began = None;
        match found {
            Found::Behind(behind) => {
                self.renewal.due = true;
                self.trouble(TROUBLE, format!("{behind}; it is being written anew, keep the disk there"));
            }
            Found::Others(why) => self.on_renewed(Err(why)),
            Found::Newest => self.say_doubt(),
        }
    }

    /// What is to be known of a place that is as it should be.
    fn say_doubt(&mut self) {
        match self.renewal.doubt.clone() {
            None => self.troubles.remove(TROUBLE),
            Some(doubt) => self.trouble(TROUBLE, doubt),
        }
    }

    pub(super) fn on_renewed(&mut self, done: Result<Option<String>, String>) {
        self.renewal.began = None;
        self.renewal.looked = Some(Instant::now());
        match done {
            Ok(doubt) => {
                (self.renewal.failed, self.renewal.doubt) = (None, doubt);
                self.say_doubt();
            }
            Err(why) => {
                self.renewal.failed = Some(Instant::now());
                self.renewal.due = true;
                self.trouble(
                    TROUBLE,
                    format!("the backup file is not renewed ({why}); what was signed since is only on this disk"),
                );
            }
        }
    }
}

/// Puts a file in the place of another, on disk as a whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().with_context(|| format!("{}: name a file", path.display()))?.to_owned();
    name.push(".next");
    let beside = path.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("write {}", beside.display()))
        }
        _ => (),
    }
    write_private(&beside, bytes)?;
    fs::rename(&beside, path).with_context(|| format!("write {}", path.display()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(|| format!("sync {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::units::{Cents, Time};
    use crate::store::Memory;
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::Transaction;

    fn renewal() -> Renewal {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let to = BackupTo { file: "/mnt/away/node.backup".into(), same_disk: false };
        Renewal::at(Some(to), Path::new("/data"), &store)
    }

    #[test]
    fn margin_lines_and_reminders_wait_ten_minutes_for_what_matters_and_a_signature_is_written_at_once() {
        let (mut renewal, now) = (renewal(), Instant::now());
        let record = |event| Recorded { at: Time(1), event };
        let margin = || record(Event::Margin { line: None, price: Cents(1) });
        assert!(renewal.is_due(now), "what was recorded before a crash");
        renewal.begin(now);
        renewal.owe(&[margin()], now);
        renewal.owe(&[record(Event::DueSoon { days: 3 }), margin()], now + WAITS / 2);
        assert!(!renewal.is_due(now + WAITS - Duration::from_millis(1)));
        assert!(renewal.is_due(now + WAITS), "from the first that waits on");
        // Written together: nothing waits any more.
        renewal.begin(now + WAITS);
        assert!(!renewal.is_due(now + WAITS * 3));
        // Whatever signs, pays, or brings the other side's signature is written at once, also among others.
        let exit =
            Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: Vec::new(), output: Vec::new() };
        for event in [Event::Withdrawn { transaction: exit }, Event::Activated, Event::Closed] {
            renewal.owe(&[margin(), record(event)], now);
            assert!(renewal.is_due(now));
            renewal.begin(now);
            assert!(!renewal.is_due(now));
        }
        // Where no file is kept nothing is owed.
        let mut none = Renewal::default();
        none.owe(&[record(Event::Closed), margin()], now);
        assert!(!none.is_due(now + WAITS * 2) && none.waits.is_none());
    }

    #[test]
    fn a_backup_whose_disk_does_not_answer_is_told_after_half_a_minute_and_a_slow_one_before_is_not() {
        let mut renewal = renewal();
        let now = Instant::now();
        assert_eq!(renewal.hangs(now + HANGS), None, "nothing is being written");
        renewal.began = Some(now);
        assert_eq!(renewal.hangs(now + HANGS - Duration::from_millis(1)), None);
        let said = renewal.hangs(now + HANGS).unwrap();
        assert!(said.contains("/mnt/away/node.backup hangs") && said.contains("only on this disk"), "{said}");
    }
}
