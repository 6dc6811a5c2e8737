//! What a store can refuse, and what to do about it.

use std::path::PathBuf;

use super::StreamId;

/// Why the store refused. No variant means that an acknowledged record was silently changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Someone else appended first, or the caller's picture is old. Nothing was written: read the stream again.
    #[error("stream {stream} holds {found} records, the append expected {expected}: read it again before appending")]
    Length { stream: StreamId, expected: u64, found: u64 },
    /// The caller asked for more than the store keeps in one piece. Nothing was written.
    #[error("{what} is {found} bytes, the most is {most}")]
    TooLarge { what: &'static str, found: usize, most: usize },
    /// Nothing was written.
    #[error("the append to stream {stream} has no records: give at least one")]
    Empty { stream: StreamId },
    /// Records take the place of as many or more. Nothing was written.
    #[error("stream {stream} holds {found} records, {given} cannot take their place: give at most {found}")]
    Replacing { stream: StreamId, found: u64, given: u64 },
    /// A document name is 1 to 128 printable ASCII characters. Nothing was written.
    #[error("document name {name:?} must be 1 to {most} printable ASCII characters without spaces")]
    Name { name: String, most: usize },
    /// Another process (or another handle in this one) has the folder open.
    #[error("the store in {} is in use by another process: stop it first (one node per data folder)", folder.display())]
    Locked { folder: PathBuf },
    /// Bytes that were acknowledged are missing or changed.
    #[error("the store in {} is damaged: {what}. Keep a copy of the folder as it is and restore from a backup", folder.display())]
    Damaged { folder: PathBuf, what: String },
    /// The folder was written by another version of the format.
    #[error("the store in {} has format {found}, this program reads format {known}: use the program that wrote it", folder.display())]
    Format { folder: PathBuf, found: String, known: u32 },
    /// The system refused. The outcome of the write is unknown: reopen the store and read the stream again.
    #[error("the store in {} could not {doing}: {why}", folder.display())]
    Io { folder: PathBuf, doing: &'static str, why: String },
    /// An earlier failure left the outcome of a write unknown.
    #[error("the store in {} failed earlier and takes nothing more: restart the node, which checks it", folder.display())]
    Failed { folder: PathBuf },
    /// An import needs an empty store.
    #[error("this store already holds {found}: import into an empty one")]
    NotEmpty { found: String },
    /// A backup must give each stream's records from 0 upwards.
    #[error("the import gives record {found} of stream {stream} where record {expected} must come: the backup is incomplete")]
    Gap { stream: StreamId, expected: u64, found: u64 },
}
