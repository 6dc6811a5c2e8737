//! Heads of the tick log: signed in a thread of their own, because the signer may be away or hang, and ticks wait for nobody.

use crate::daemon::log::TickLog;
use crate::ticklog::chain::End;
use crate::ticklog::entry::Head;
use crate::units::Time;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// Signs a head of the tick log. May take as long as the signer does.
pub type HeadSigner = Box<dyn Fn(End) -> anyhow::Result<Head> + Send>;

/// How long a look waits for a signer that has been answering: so an hour's head stands before the next hour's first
/// tick as a rule. Real time.
const QUICK: Duration = Duration::from_secs(1);
/// Heads signed in one look: a signer that comes back after days is caught up with in some seconds.
const TURN: usize = 32;

/// Asks for heads and takes what comes back.
pub struct Heads {
    asked: Sender<End>,
    signed: Receiver<anyhow::Result<Head>>,
    /// A question is under way.
    busy: bool,
    /// Why the last one came to nothing.
    trouble: Option<String>,
    /// Hours that are over and wait.
    waiting: usize,
}

impl Heads {
    /// Starts the thread. It ends with the signer's answer after this was dropped.
    pub fn new(sign: HeadSigner) -> Heads {
        let (asked, questions) = channel::<End>();
        let (answers, signed) = channel();
        std::thread::spawn(move || {
            while let Ok(end) = questions.recv() {
                if answers.send(sign(end)).is_err() {
                    break;
                }
            }
        });
        Heads { asked, signed, busy: false, trouble: None, waiting: 0 }
    }

    /// Hours that are over and wait for their head, as of the last look.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Why they wait; `None` while the signer answers.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Has the heads of hours that are over at `now` signed, in order, as far as the signer answers. One that does not is
    /// asked again at the next look and not waited for.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn look(&mut self, log: &mut TickLog, now: Time) -> anyhow::Result<()> {
        for _ in 0..TURN {
            if !self.busy {
                let Some(end) = log.unsigned(now) else { break };
                self.busy = self.asked.send(end).is_ok();
            }
            let patience = if self.trouble.is_none() { QUICK } else { Duration::ZERO };
            match self.signed.recv_timeout(patience) {
                Ok(Ok(head)) => {
                    self.busy = false;
                    if self.trouble.take().is_some() {
                        tracing::info!("the signer signs the tick log's heads again");
                    }
                    log.sign(head)?;
                }
                Ok(Err(error)) => {
                    self.busy = false;
                    let why = format!("{error:#}");
                    if self.trouble.is_none() {
                        tracing::warn!("the tick log's heads wait for the signer: {why}");
                    }
                    self.trouble = Some(why);
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.trouble.is_none() {
                        tracing::warn!("the tick log's heads wait for the signer: it does not answer");
                        self.trouble = Some("it does not answer".to_string());
                    }
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the thread that signs the tick log's heads ended")
                }
            }
        }
        self.waiting = log.unsigned_hours(now);
        Ok(())
    }
}
