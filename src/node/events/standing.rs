//! Which of the things that need a person were told: each once as long as it stands, over restarts too.

use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So long, in real time, a thing stands before it is told: what passes by itself is not.
const SETTLES: Duration = Duration::from_secs(30);
/// So long it is gone before it would be told anew.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// Things remembered at most; more are not told.
const MOST: usize = 1_000;
/// The document.
const DOCUMENT: &str = "attention-told";

/// What was told and stands, and since when what was not.
pub struct Standing {
    store: Arc<dyn Store>,
    told: BTreeSet<String>,
    since: BTreeMap<String, Instant>,
    gone: BTreeMap<String, Instant>,
    /// When it was looked at last.
    pub looked: Option<Instant>,
}

impl Standing {
    /// What an earlier run told.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(store: Arc<dyn Store>) -> Result<Standing, StoreError> {
        let bytes = store.get(DOCUMENT)?.unwrap_or_default();
        let told = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Standing { store, told, since: BTreeMap::new(), gone: BTreeMap::new(), looked: None })
    }

    /// What stands now, by its names. Returns the places of those that are to be told.
    ///
    /// # Errors
    /// When the store fails: then nothing is to be told.
    pub fn look(&mut self, now: Instant, standing: &[&str]) -> Result<Vec<usize>, StoreError> {
        let stands: BTreeSet<&str> = standing.iter().copied().collect();
        self.since.retain(|about, _| stands.contains(about.as_str()));
        self.gone.retain(|about, _| !stands.contains(about.as_str()));
        let before = self.told.len();
        let gone = &mut self.gone;
        self.told.retain(|about| {
            stands.contains(about.as_str()) || now.duration_since(*gone.entry(about.clone()).or_insert(now)) < FORGOTTEN
        });
        let forgot = self.told.len() != before;
        let mut news = Vec::new();
        for (place, about) in standing.iter().enumerate() {
            let since = *self.since.entry((*about).to_owned()).or_insert(now);
            let is_new = !self.told.contains(*about) && self.told.len() < MOST;
            if is_new && now.duration_since(since) >= SETTLES {
                self.told.insert((*about).to_owned());
                news.push(place);
            }
        }
        if forgot || !news.is_empty() {
            self.store.put(DOCUMENT, &serde_json::to_vec(&self.told).unwrap_or_default())?;
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[test]
    fn what_stands_is_told_once_after_a_while_and_not_again_after_a_restart() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut standing = Standing::open(store.clone()).unwrap();
        let start = Instant::now();
        assert_eq!(standing.look(start, &["chain"]).unwrap(), [] as [usize; 0]);
        assert_eq!(standing.look(start + SETTLES, &["coins", "chain"]).unwrap(), [1]);
        assert_eq!(standing.look(start + SETTLES * 2, &["coins", "chain"]).unwrap(), [0]);
        let mut standing = Standing::open(store).unwrap();
        assert_eq!(standing.look(start, &["chain"]).unwrap(), [] as [usize; 0]);
        assert_eq!(standing.look(start + SETTLES, &["chain"]).unwrap(), [] as [usize; 0]);
        // Gone for an hour, it would be news again.
        standing.look(start, &[]).unwrap();
        standing.look(start + FORGOTTEN, &[]).unwrap();
        let later = start + FORGOTTEN * 2;
        standing.look(later, &["chain"]).unwrap();
        assert_eq!(standing.look(later + SETTLES, &["chain"]).unwrap(), [0]);
    }

    #[test]
    fn what_passes_by_itself_is_not_told() {
        let mut standing = Standing::open(Arc::new(Memory::new())).unwrap();
        let start = Instant::now();
        standing.look(start, &["peer"]).unwrap();
        standing.look(start + SETTLES / 2, &[]).unwrap();
        assert!(standing.look(start + SETTLES, &["peer"]).unwrap().is_empty());
    }
}
