//! A thread that may block, waiting for something asynchronous, with a limit: the desk's way to a socket.

use std::future::Future;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A small runtime of its own. It only makes progress while somebody waits.
pub struct Waiter(Option<Runtime>);

impl Waiter {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no more file descriptors.
    pub fn new() -> std::io::Result<Waiter> {
        Ok(Waiter(Some(Builder::new_current_thread().enable_all().build()?)))
    }

    /// Waits for an answer; `None` when it did not come in time. Never call it from asynchronous code.
    pub fn wait<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.0.as_ref()?.block_on(async { tokio::time::timeout(limit, answer).await.ok() })
    }
}

/// A runtime may not be dropped where waiting is forbidden; this one may.
impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
