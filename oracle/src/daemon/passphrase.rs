//! The passphrase of the oracle's key.

use crate::passphrase::Source;
use crate::sealed::SecretString;
use std::path::PathBuf;

pub use crate::sealed::SHORTEST;

/// Name of the systemd credential: `LoadCredentialEncrypted=oracle-passphrase`.
pub const CREDENTIAL: &str = "oracle-passphrase";

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passphrase {
    /// A file that was named.
    pub file: Option<PathBuf>,
}

impl Passphrase {
    /// The passphrase, `None` when no file and no credential is there and nobody sits at a terminal.
    /// `twice` asks a person a second time, for a passphrase that is new.
    ///
    /// # Errors
    /// When what is there cannot be read, is readable by others, or is too short.
    pub fn get(&self, twice: bool) -> anyhow::Result<Option<SecretString>> {
        Source { file: self.file.as_deref(), credential: CREDENTIAL, of: "the oracle's key" }.get(twice)
    }
}
