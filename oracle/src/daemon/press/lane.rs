//! The lane in which pages are made: one thread, behind everything else.
//!
//! Whoever asks for pages, and however many ask, has one thread of this machine at the most, and that at a low priority.
//! What must not wait (prices, lows, what is said next) is signed elsewhere.

use anyhow::Context;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Sender};
use tokio::sync::oneshot;

/// How much nicer it is than the rest (see nice(2)): it has a tenth of a core where the rest wants all of it.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// One thread that does what it is given in the order it comes. How much waits is bounded by those who may ask.
#[derive(Debug)]
pub struct Lane(Sender<Job>);

impl Lane {
    /// A lane with a thread of its own, which ends with it.
    pub fn open() -> Lane {
        let (jobs, work) = channel::<Job>();
        let thread = std::thread::Builder::new().name("pages".into()).spawn(move || {
            step_back();
            for job in work {
                // One page that cannot be made must not be the last.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("the making of a page broke off");
                }
            }
        });
        if let Err(error) = thread {
            tracing::error!("no thread for pages: {error}; none are made until the oracle is started again");
        }
        Lane(jobs)
    }

    /// Does this in its turn. What nobody waits for any more by then is left out.
    ///
    /// # Errors
    /// When the thread could not be started, or the work panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let (reply, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !reply.is_closed() {
                drop(reply.send(work()));
            }
        });
        self.0.send(job).ok().context("there is no thread that makes pages")?;
        done.await.context("the making of a page broke off")
    }
}

/// Only on Linux this is about the calling thread alone. Where a sandbox forbids it the lane is one thread all the same.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!("the thread of pages keeps its priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn work_is_done_one_at_a_time_in_its_order_and_what_nobody_waits_for_is_left_out() {
        let lane = Lane::open();
        let (open, gate) = channel::<()>();
        let done = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str| {
            let done = Arc::clone(&done);
            move || done.lock().unwrap().push(name)
        };
        let (first, given_up) = (job("first"), job("given up"));
        let waits = lane.run(move || {
            gate.recv().unwrap();
            first();
        });
        let mut waits = Box::pin(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        let mut left = Box::pin(lane.run(given_up));
        assert!(futures_util::poll!(&mut left).is_pending());
        drop(left);
        let last = lane.run(job("last"));
        open.send(()).unwrap();
        last.await.unwrap();
        waits.await.unwrap();
        assert_eq!(*done.lock().unwrap(), ["first", "last"]);
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_made_is_not_the_last() {
        let lane = Lane::open();
        assert!(lane.run(|| panic!("as a test")).await.is_err());
        assert_eq!(lane.run(|| 7).await.unwrap(), 7);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_lane_alone_is_behind_everything_else() {
        // Nineteenth field of the thread's stat; the name of a thread here has no blank in it.
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let here = nice();
        assert_eq!(Lane::open().run(nice).await.unwrap(), (here + NICER).min(19));
        assert_eq!(nice(), here);
    }
}
