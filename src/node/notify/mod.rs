//! Telling the operator's hooks of what happened: each event from `notice` on, once for each hook, over restarts too.
//!
//! A hook that fails is tried again for three days, each event by itself. What was told and what waits is on disk. It
//! decides nothing, and no loan waits for it.

mod config;
mod queue;

pub use config::Settings;
use queue::Queue;

use super::events::Book;
use super::tools::lock;
use super::view::{EventView, Severity};
use crate::hook::{Hook, Notice};
use crate::store::{Store, StoreError};
use bitcoin::secp256k1::PublicKey;
use hypothec_oracle::units::Time;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long after a failure the same event is told again; after the last it is given up. As the standard advises.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(34 * 3_600),
];

/// What is wrong with the hooks now, by name.
type Faults = Arc<Mutex<BTreeMap<&'static str, String>>>;

/// The hooks at work. They stop when it is dropped.
pub struct Notifier {
    faults: Faults,
    _tasks: JoinSet<()>,
}

impl Notifier {
    /// Starts telling `hooks`. One that is new is told of what comes from now on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn start(hooks: Vec<Hook>, book: &Book, store: &Arc<dyn Store>, node: PublicKey) -> anyhow::Result<Notifier> {
        let faults = Faults::default();
        let mut tasks = JoinSet::new();
        for hook in hooks {
            let queue = Queue::open(store.clone(), hook.name(), book.last())?;
            tasks.spawn(tell(hook, book.clone(), queue, node, faults.clone()));
        }
        Ok(Notifier { faults, _tasks: tasks })
    }

    /// A sentence for each hook that fails.
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.faults).iter().map(|(name, text)| format!("notify.{name}: {text}")).collect()
    }
}

async fn tell(hook: Hook, book: Book, mut queue: Queue, node: PublicKey, faults: Faults) {
    let mut newer = book.watch();
    loop {
        if let Err(e) = turn(&hook, &book, &mut queue, node, &faults).await {
            // Going on could tell twice what cannot be noted as told. The node itself stops on a store that fails.
            tracing::error!("notify.{}: {e}", hook.name());
            lock(&faults).insert(hook.name(), e.to_string());
            return;
        }
        let next = queue.next();
        let later = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = newer.changed() => if changed.is_err() { return },
            () = later => {}
        }
    }
}

/// Takes in what is new, and tells what is due.
async fn turn(hook: &Hook, book: &Book, queue: &mut Queue, node: PublicKey, faults: &Faults) -> Result<(), StoreError> {
    let before = queue.len();
    for view in book.after(queue.seen()) {
        queue.look_at(view.number, view.severity >= Severity::Notice);
    }
    if queue.len() != before {
        queue.save()?;
    }
    while let Some(number) = queue.due(Instant::now()) {
        let Some(view) = book.get(number) else {
            queue.done(number)?;
            continue;
        };
        match hook.tell(&notice(&view, node)).await {
            Ok(()) => {
                queue.done(number)?;
                tracing::debug!("notify.{}: told of event {number}", hook.name());
                if queue.len() == 0 {
                    lock(faults).remove(hook.name());
                }
            }
            Err(why) => {
                queue.failed(number, Instant::now())?;
                let text = format!("{why}; events that wait to be told again: {}", queue.len());
                if lock(faults).insert(hook.name(), text.clone()).is_none() {
                    tracing::warn!("notify.{}: {text}", hook.name());
                }
            }
        }
    }
    Ok(())
}

/// What a hook is told of an event. The id holds the event's time too: after a restore a number can come again.
fn notice(view: &EventView, node: PublicKey) -> Notice {
    let id = format!("{node}-{}-{}", view.number, view.at);
    let at = Time(view.at).to_string();
    let body = serde_json::json!({ "type": view.event, "timestamp": at, "data": view }).to_string();
    let severity = serde_json::to_value(view.severity).ok();
    let severity = severity.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    let variables = vec![
        ("HYPOTHEC_NUMBER", view.number.to_string()),
        ("HYPOTHEC_EVENT", view.event.clone()),
        ("HYPOTHEC_SEVERITY", severity),
        ("HYPOTHEC_LOAN", view.loan_id.map(|id| id.to_string()).unwrap_or_default()),
        ("HYPOTHEC_AT", at),
        ("HYPOTHEC_TEXT", view.text.clone()),
    ];
    Notice { id, kind: view.event.clone(), body, variables }
}

#[cfg(test)]
mod tests;
