//! The store on one machine's disk: two journals in a sled database, and a mark beside it.
//!
//! sled loses what was not synced, forgets a lost tail and may panic on a flipped bit. So: small appended rows only,
//! every append is flushed and synced (file and folder), rows are checked when the store is opened and whenever they
//! are read, the mark tells a lost tail, and every call into sled is behind `catch_unwind`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hypothec_oracle::room;

use super::journal::{Entry, Fault, Journal, Kind, Rows};
use super::log::{check_documents, check_records, check_replacing, Export};
use super::mark::{Found, Mark, Position, FORMAT};
use super::{Item, Store, StoreError, StreamId};

const CACHE_BYTES: u64 = 64 << 20;
/// How long a lock that may just be being given back is waited for.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// Documents are written again once their journal holds this many rows more than twice what is alive.
const SLACK_ROWS: u64 = 512;

/// The store in a folder. Holds the folder's lock until it is dropped.
pub struct Sled {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    db: sled::Db,
    data: File,
    directory: File,
    mark: Mark,
    log: Journal,
    docs: Journal,
    index: BTreeMap<StreamId, Held>,
    documents: BTreeMap<String, Document>,
    /// What says that forgotten streams are dead, and is so itself once these have been given back.
    markers: Vec<Rows>,
    /// Exports being read: what they began with stays where it is until they have ended.
    exports: usize,
    /// What is given back then.
    waiting: Vec<Rows>,
    failed: bool,
}

/// An export being read, as long as it lives.
struct Reading<'a>(&'a Sled);

impl Reading<'_> {
    fn record(&self, rows: &Rows) -> Result<Vec<u8>, StoreError> {
        self.0.look(|inner| inner.log.read(rows))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        inner.exports = inner.exports.saturating_sub(1);
    }
}

struct Document {
    bytes: Vec<u8>,
    rows: u64,
}

/// Where the records of a stream are.
#[derive(Clone, Default)]
struct Held {
    /// How many came before them and are gone.
    gone: u64,
    rows: Vec<Rows>,
}

impl Held {
    fn length(&self) -> u64 {
        self.gone.saturating_add(self.rows.len() as u64)
    }
}

impl Sled {
    /// Opens the store in `folder`, or makes a new one there, and checks every row of it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Damaged`] when an acknowledged row is
    /// missing or changed. A batch that was being written when the process died was never acknowledged: it is dropped.
    pub fn open(folder: impl AsRef<Path>) -> Result<Sled, StoreError> {
        let folder = folder.as_ref().to_path_buf();
        make_private_folder(&folder).map_err(|error| io_error(&folder, "make its folder", &error))?;
        let opened = catch_unwind(AssertUnwindSafe(|| Inner::open(&folder)));
        let inner = opened.unwrap_or_else(|_| Err(damaged(&folder, "the database cannot be read")))?;
        Ok(Sled { folder, inner: Mutex::new(inner) })
    }

    /// Makes a store in `folder`, which must not exist, from an export. Either all of it is there afterwards or
    /// nothing: the work is done in `folder` with `.restoring` added, which replaces what an earlier try left.
    pub fn restore(folder: impl AsRef<Path>, items: &mut dyn Iterator<Item = Item>) -> Result<(), StoreError> {
        let folder = folder.as_ref();
        if folder.exists() {
            return Err(StoreError::NotEmpty { found: format!("a folder {}", folder.display()) });
        }
        let mut name = folder.file_name().unwrap_or_default().to_os_string();
        name.push(".restoring");
        let work = folder.with_file_name(name);
        if work.exists() {
            fs::remove_dir_all(&work).map_err(|error| io_error(&work, "remove an unfinished restore", &error))?;
        }
        Sled::open(&work)?.import(items)?;
        fs::rename(&work, folder).map_err(|error| io_error(folder, "take its place", &error))?;
        File::open(parent_of(folder))
            .and_then(|parent| parent.sync_all())
            .map_err(|error| io_error(folder, "sync", &error))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call that writes. Until it has succeeded the store counts as failed, also if sled panics.
    fn write<T>(&self, work: impl FnOnce(&mut Inner, &Path) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut inner = self.inner();
        if inner.failed {
            return Err(StoreError::Failed { folder: self.folder.clone() });
        }
        inner.failed = true;
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut inner, &self.folder)))
            .unwrap_or_else(|_| Err(io_error_text(&self.folder, "write", "the database panicked".into())))?;
        inner.failed = false;
        Ok(done)
    }

    /// Runs a call that writes to a stream of exactly this length.
    fn write_at<T>(
        &self,
        stream: StreamId,
        expected: u64,
        work: impl FnOnce(&mut Inner, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let length = |inner: &Inner| match inner.index.get(&stream).map_or(0, Held::length) {
            found if found == expected => Ok(()),
            found => Err(StoreError::Length { stream, expected, found }),
        };
        length(&self.inner())?;
        // Another thread may have written since the first look, which spared the store a needless refusal.
        self.write(|inner, folder| match length(inner) {
            Ok(()) => work(inner, folder).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        })?
    }

    /// Runs a call that only reads.
    fn look<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T, Fault>) -> Result<T, StoreError> {
        let mut inner = self.inner();
        if inner.failed {
            return Err(StoreError::Failed { folder: self.folder.clone() });
        }
        catch_unwind(AssertUnwindSafe(|| work(&mut inner)))
            .unwrap_or_else(|_| Err(Fault::Damage("the database panicked while reading".into())))
            .map_err(|fault| fault_error(&self.folder, "read", fault))
    }
}

impl Store for Sled {
    fn append(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        check_records(stream, records)?;
        self.write_at(stream, expected_len, |inner, folder| {
            let key = stream.0.as_slice();
            let entries = records.iter().map(|bytes| Entry { key, kind: Kind::Another, bytes });
            let placed = inner.log.append(entries, false).map_err(|fault| fault_error(folder, "write", fault))?;
            inner.sync(folder)?;
            let held = inner.index.entry(stream).or_default();
            held.rows.extend(placed);
            Ok(held.length())
        })
    }

    fn replace(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<(), StoreError> {
        check_replacing(stream, expected_len, records)?;
        self.write_at(stream, expected_len, |inner, folder| inner.replace(folder, stream, expected_len, records))
    }

    fn length(&self, stream: StreamId) -> Result<u64, StoreError> {
        self.look(|inner| Ok(inner.index.get(&stream).map_or(0, Held::length)))
    }

    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError> {
        self.look(|inner| {
            let rows = inner.index.get(&stream).into_iter().flat_map(|held| &held.rows);
            rows.map(|rows| inner.log.read(rows)).collect()
        })
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        self.look(|inner| Ok(inner.index.keys().copied().collect()))
    }

    fn put_all(&self, documents: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        check_documents(documents)?;
        if documents.is_empty() {
            return Ok(());
        }
        self.write(|inner, folder| {
            let entries =
                documents.iter().map(|(name, bytes)| Entry { key: name.as_bytes(), kind: Kind::Another, bytes });
            let placed = inner.docs.append(entries, false);
            let placed = placed.map_err(|fault| fault_error(folder, "write", fault))?;
            inner.sync(folder)?;
            for ((name, bytes), rows) in documents.iter().zip(&placed) {
                inner.documents.insert(name.clone(), Document { bytes: bytes.clone(), rows: count(rows) });
            }
            inner.compact(folder)
        })
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.look(|inner| Ok(inner.documents.get(name).map(|document| document.bytes.clone())))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.look(|inner| Ok(inner.documents.keys().filter(|name| name.starts_with(prefix)).cloned().collect()))
    }

    fn export(&self) -> Result<Export<'_>, StoreError> {
        let (documents, index) = self.look(|inner| {
            let copy = |(name, document): (&String, &Document)| (name.clone(), document.bytes.clone());
            inner.exports = inner.exports.saturating_add(1);
            Ok((inner.documents.iter().map(copy).collect::<Vec<_>>(), inner.index.clone()))
        })?;
        let reading = Reading(self);
        let documents = documents.into_iter().map(|(name, bytes)| Ok(Item::Document { name, bytes }));
        let places = index
            .into_iter()
            .flat_map(|(stream, held)| (0u64..).zip(held.rows).map(move |(seq, rows)| (stream, seq, rows)));
        let records = places.map(move |(stream, seq, rows)| {
            let bytes = reading.record(&rows)?;
            Ok(Item::Record { stream, seq, bytes })
        });
        Ok(Box::new(documents.chain(records)))
    }
}

impl Inner {
    fn open(folder: &Path) -> Result<Inner, StoreError> {
        let fail = |fault: Fault| fault_error(folder, "open", fault);
        let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        forget_unfinished_snapshots(folder).map_err(|error| io_error(folder, "clean up its files", &error))?;
        let db = open_patiently(&config).map_err(|error| open_error(folder, error))?;
        let (mut index, mut documents) = (BTreeMap::<StreamId, Held>::new(), BTreeMap::new());
        let (mut dead, mut markers) = (Vec::new(), Vec::new());
        let log = db.open_tree("log").map_err(|error| fail(error.into()))?;
        let log = Journal::open(log, show_stream, &mut |key, kind, rows, _| {
            let id = <[u8; 32]>::try_from(key).map_err(|_| "a stream's id is not 32 bytes".to_owned())?;
            let id = StreamId(id);
            markers.extend((kind == Kind::Gone).then(|| rows.clone()));
            dead.extend(take_in(&mut index, id, kind, rows));
            Ok(())
        })
        .map_err(fail)?;
        let docs = db.open_tree("documents").map_err(|error| fail(error.into()))?;
        let docs = Journal::open(docs, show_document, &mut |key, _, rows, bytes| {
            let name = String::from_utf8(key.to_vec()).map_err(|_| "a document's name is not text".to_owned())?;
            documents.insert(name, Document { bytes, rows: count(&rows) });
            Ok(())
        })
        .map_err(fail)?;
        let mark = check_mark(folder, &log, &docs)?;
        let file = |name: &Path| File::open(name).map_err(|error| io_error(folder, "open its files", &error));
        let (data, directory) = (file(&folder.join("db"))?, file(folder)?);
        let (exports, waiting, failed) = (0, Vec::new(), false);
        let mut inner =
            Inner { db, data, directory, mark, log, docs, index, documents, markers, exports, waiting, failed };
        inner.log.tidy().and_then(|()| inner.docs.tidy()).map_err(fail)?;
        inner.sync(folder)?;
        // What a crash kept from being given back.
        inner.give_back(folder, dead)?;
        sync_folder(folder).map_err(|error| io_error(folder, "sync", &error))?;
        Ok(inner)
    }

    /// Returns when everything written so far would survive a power cut.
    fn sync(&mut self, folder: &Path) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| fault_error(folder, "write", error.into()))?;
        let position = Position { log: self.log.next(), docs: self.docs.next() };
        room::refuse_when_faked()
            .and_then(|()| self.data.sync_all())
            .and_then(|()| self.directory.sync_all())
            .and_then(|()| {
                crate::crash::point("store-before-mark");
                self.mark.set(position)
            })
            .map_err(|error| io_error(folder, "sync", &error))
    }

    /// Writes what takes the place of a stream's records, or that nothing does, and then gives back the place they had.
    fn replace(&mut self, folder: &Path, stream: StreamId, length: u64, records: &[Vec<u8>]) -> Result<(), StoreError> {
        let fail = |fault| fault_error(folder, "write", fault);
        let gone = length.saturating_sub(records.len() as u64);
        let mut kind = Kind::Anew(gone);
        let entries = records.iter().map(|bytes| {
            let kind = std::mem::replace(&mut kind, Kind::Another);
            Entry { key: stream.0.as_slice(), kind, bytes }
        });
        let end = records.is_empty().then_some(Entry { key: stream.0.as_slice(), kind: Kind::Gone, bytes: &[] });
        let rows = self.log.append(entries.chain(end), false).map_err(fail)?;
        self.sync(folder)?;
        let old = self.index.remove(&stream).unwrap_or_default();
        let mut dead = std::mem::take(&mut self.markers);
        dead.extend(old.rows);
        crate::crash::point("store-before-hole");
        self.give_back(folder, dead)?;
        match records.is_empty() {
            true => self.markers.extend(rows),
            false => drop(self.index.insert(stream, Held { gone, rows })),
        }
        Ok(())
    }

    /// Gives back the place of dead entries: the disk's own, for what is written next. Not while an export may read them.
    fn give_back(&mut self, folder: &Path, dead: Vec<Rows>) -> Result<(), StoreError> {
        self.waiting.extend(dead);
        if self.exports > 0 {
            return Ok(());
        }
        let dead = std::mem::take(&mut self.waiting);
        let fail = |fault| fault_error(folder, "write", fault);
        let holes = self.log.dig(dead).map_err(fail)?;
        if holes.is_empty() {
            return Ok(());
        }
        self.sync(folder)?;
        crate::crash::point("store-before-fill");
        self.log.fill(&holes).map_err(fail)
    }

    /// Writes all documents again when most rows of their journal are old versions. The old rows go only after the
    /// new ones are on disk.
    fn compact(&mut self, folder: &Path) -> Result<(), StoreError> {
        let alive = self.documents.values().fold(0u64, |sum, document| sum.saturating_add(document.rows));
        if self.docs.live() <= alive.saturating_mul(2).saturating_add(SLACK_ROWS) {
            return Ok(());
        }
        let entries = self.documents.iter().map(|(name, document)| Entry {
            key: name.as_bytes(),
            kind: Kind::Another,
            bytes: &document.bytes,
        });
        self.docs.append(entries, true).map_err(|fault| fault_error(folder, "write", fault))?;
        self.sync(folder)?;
        crate::crash::point("store-before-tidy");
        self.docs.tidy().map_err(|fault| fault_error(folder, "write", fault))
    }
}

/// Takes an entry of the log into the index, and returns the rows that are dead by it.
fn take_in(index: &mut BTreeMap<StreamId, Held>, stream: StreamId, kind: Kind, rows: Rows) -> Vec<Rows> {
    let before = match kind {
        Kind::Another => None,
        Kind::Anew(_) | Kind::Gone => index.remove(&stream),
    };
    let dead = before.unwrap_or_default().rows;
    match kind {
        Kind::Gone => return dead,
        Kind::Anew(gone) => drop(index.insert(stream, Held { gone, rows: vec![rows] })),
        Kind::Another => index.entry(stream).or_default().rows.push(rows),
    }
    dead
}

/// Compares the mark with the journals: fewer rows than were acknowledged means that some were lost.
fn check_mark(folder: &Path, log: &Journal, docs: &Journal) -> Result<Mark, StoreError> {
    let path = folder.join("mark");
    match Mark::open(&path).map_err(|error| io_error(folder, "read its mark", &error))? {
        Found::At(_, marked) if log.next() < marked.log => Err(lost(folder, "records", log.next(), marked.log)),
        Found::At(_, marked) if docs.next() < marked.docs => Err(lost(folder, "documents", docs.next(), marked.docs)),
        // A folder of an older format is one of this from now on: an older program would take it for damaged.
        Found::At(mut mark, marked) => {
            mark.raise(marked).map_err(|error| io_error(folder, "write its mark", &error))?;
            Ok(mark)
        }
        Found::Nothing if log.is_empty() && docs.is_empty() => {
            Mark::create(&path).map_err(|error| io_error(folder, "make its mark", &error))
        }
        Found::Nothing => Err(damaged(folder, "the file `mark` is missing")),
        Found::Unreadable => Err(damaged(folder, "the file `mark` cannot be read")),
        Found::OtherFormat(found) => Err(StoreError::Format { folder: folder.to_path_buf(), found, known: FORMAT }),
    }
}

fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Syncs what is written only once, when a store is made: sled's other files, and the folder's own name.
fn sync_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(parent_of(folder))?.sync_all()
}

fn parent_of(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn count(rows: &Rows) -> u64 {
    rows.end().saturating_sub(*rows.start()).saturating_add(1)
}

fn show_stream(key: &[u8]) -> String {
    <[u8; 32]>::try_from(key).map_or_else(|_| "an unknown stream".into(), |id| format!("stream {}", StreamId(id)))
}

fn show_document(key: &[u8]) -> String {
    format!("document {}", String::from_utf8_lossy(key))
}

fn lost(folder: &Path, what: &str, found: u64, marked: u64) -> StoreError {
    damaged(folder, &format!("{marked} rows of {what} were written, only {found} are there"))
}

fn damaged(folder: &Path, what: &str) -> StoreError {
    StoreError::Damaged { folder: folder.to_path_buf(), what: what.to_owned() }
}

fn io_error(folder: &Path, doing: &'static str, error: &io::Error) -> StoreError {
    io_error_text(folder, doing, room::why(error, folder))
}

fn io_error_text(folder: &Path, doing: &'static str, why: String) -> StoreError {
    StoreError::Io { folder: folder.to_path_buf(), doing, why }
}

fn fault_error(folder: &Path, doing: &'static str, fault: Fault) -> StoreError {
    match fault {
        Fault::Damage(what) => damaged(folder, &what),
        Fault::Sled(sled::Error::Io(error)) => io_error(folder, doing, &error),
        Fault::Sled(error) => io_error_text(folder, doing, error.to_string()),
    }
}

/// sled sums its log up in a file that it writes under another name first, and takes a cut one, as a full disk leaves it, for
/// the store's own data, which it then calls corrupted. It can always be made anew from the log.
fn forget_unfinished_snapshots(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens the database. sled gives its lock back a moment after it was dropped, when its own threads have ended: a
/// store opened again at once waits for that.
pub(super) fn open_patiently(config: &sled::Config) -> sled::Result<sled::Db> {
    let began = std::time::Instant::now();
    loop {
        match config.open() {
            Err(error) if is_locked(&error) && began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// sled tells a lock held by another process only in its text.
fn open_error(folder: &Path, error: sled::Error) -> StoreError {
    match error {
        error if is_locked(&error) => StoreError::Locked { folder: folder.to_path_buf() },
        other => fault_error(folder, "open", other.into()),
    }
}
