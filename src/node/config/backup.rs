//! `[backup]`: the file that the node renews by itself.

use super::{quoted, wrong, ConfigError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where the backup is that renews itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupTo {
    /// The file, by its whole path, outside the data folder.
    pub file: PathBuf,
    /// Is it meant to be on the data folder's own disk?
    pub same_disk: bool,
}

/// The table.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Backup {
    file: Option<PathBuf>,
    same_disk: bool,
}

impl Backup {
    pub(super) fn check(self, data: &Path) -> Result<Option<BackupTo>, ConfigError> {
        let Some(file) = self.file else { return Ok(None) };
        let shown = quoted(&file.display().to_string());
        let wrong = |remedy: &str| Err(wrong("backup.file", &shown, remedy));
        if !file.is_absolute() || file.file_name().is_none() {
            return wrong("write a whole path, for example /media/away/node.backup");
        }
        if file.starts_with(data) {
            return wrong("it would be lost with the data folder; name a place on another disk or machine");
        }
        Ok(Some(BackupTo { file, same_disk: self.same_disk }))
    }
}
