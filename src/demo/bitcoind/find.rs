//! Where a runnable bitcoind comes from.

use super::Error;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Fetches bitcoind into a cache folder and prints its path.
const SCRIPT: &str = include_str!("../fetch-bitcoind.sh");

/// How a bitcoind was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment variable BITCOIND.
    Environment,
    /// A folder on PATH.
    Path,
    /// Fetched earlier.
    Cache,
    /// Fetched just now.
    Fetched,
}

/// A program that has run once to tell its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub path: PathBuf,
    /// Its version line.
    pub version: String,
    /// Where it came from.
    pub source: Source,
}

/// `${XDG_CACHE_HOME:-~/.cache}/hypothec/bitcoind`.
pub fn cache_dir() -> Result<PathBuf, Error> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("hypothec").join("bitcoind")).ok_or(Error::NoCache)
}

/// The first of: `$BITCOIND`, `bitcoind` on PATH, the one fetched earlier, one fetched now (Debian's package, by a
/// private apt; about ten seconds, said on stderr).
///
/// # Errors
/// Says what to install where none can be had. A `$BITCOIND` that does not run is an error, not passed over.
pub async fn find() -> Result<Found, Error> {
    if let Some(path) = env::var_os("BITCOIND").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        let version = version(&path).await.map_err(|reason| Error::NotRunnable { path: path.clone(), reason })?;
        return Ok(Found { path, version, source: Source::Environment });
    }
    if let Some(path) = on_path("bitcoind", env::var_os("PATH")) {
        if let Ok(version) = version(&path).await {
            return Ok(Found { path, version, source: Source::Path });
        }
    }
    let cache = cache_dir()?;
    let path = cache.join("bin").join("bitcoind");
    if let Ok(version) = version(&path).await {
        return Ok(Found { path, version, source: Source::Cache });
    }
    let path = fetch(&cache).await?;
    let version = version(&path).await.map_err(|reason| Error::NotRunnable { path: path.clone(), reason })?;
    Ok(Found { path, version, source: Source::Fetched })
}

fn on_path(program: &str, path: Option<OsString>) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = env::split_paths(&path?).collect();
    folders.into_iter().map(|folder| folder.join(program)).find(|program| program.is_file())
}

/// The first line of `-version`.
async fn version(path: &Path) -> Result<String, String> {
    let output = Command::new(path).arg("-version").stdin(Stdio::null()).output().await.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.to_string()),
        _ => Err(format!("-version ends with {}", output.status)),
    }
}

async fn fetch(cache: &Path) -> Result<PathBuf, Error> {
    let file = |e: std::io::Error| Error::File { path: cache.to_path_buf(), reason: e.to_string() };
    on_path("sh", env::var_os("PATH")).ok_or(Error::NoShell)?;
    std::fs::create_dir_all(cache).map_err(file)?;
    let script = tempfile::Builder::new().prefix("fetch-").suffix(".sh").tempfile_in(cache).map_err(file)?;
    std::fs::write(script.path(), SCRIPT).map_err(file)?;
    let output = Command::new("sh")
        .arg(script.path())
        .arg(cache)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(file)?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if !output.status.success() || printed.is_empty() {
        return Err(Error::NotFetched);
    }
    Ok(PathBuf::from(printed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_on_the_path_that_has_one_counts() {
        let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let program = full.path().join("bitcoind");
        std::fs::write(&program, "").unwrap();
        let path = env::join_paths([empty.path(), full.path()]).unwrap();
        assert_eq!(on_path("bitcoind", Some(path)), Some(program));
        assert_eq!(on_path("bitcoind", Some(empty.path().into())), None);
        assert_eq!(on_path("bitcoind", None), None);
    }
}
