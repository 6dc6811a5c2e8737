//! The hook room: tells programs and addresses of the operator's choice that something happened.
//!
//! It runs one program or posts to one address and says whether that took. It keeps nothing, tries nothing twice, and
//! never learns what a loan is; what to tell, when, and when again is the node's.

mod exec;
mod webhook;

pub use exec::Exec;
pub use webhook::{Secret, SecretError, Webhook};

/// One thing to tell.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Names it for good: the same when it is told again.
    pub id: String,
    /// What kind of thing it is.
    pub kind: String,
    /// All of it, as JSON.
    pub body: String,
    /// The same in words, for a program: names and values of environment variables.
    pub variables: Vec<(&'static str, String)>,
}

/// Somebody to tell.
#[derive(Clone, Debug)]
pub enum Hook {
    /// A program that is run.
    Exec(Exec),
    /// An address that is posted to.
    Webhook(Webhook),
}

impl Hook {
    /// Its name, for what is kept and said about it.
    pub fn name(&self) -> &'static str {
        match self {
            Hook::Exec(_) => "exec",
            Hook::Webhook(_) => "webhook",
        }
    }

    /// Tells it, once.
    ///
    /// # Errors
    /// Why it did not take, in a sentence; trying again later may help.
    pub async fn tell(&self, notice: &Notice) -> Result<(), String> {
        match self {
            Hook::Exec(exec) => exec.run(notice).await,
            Hook::Webhook(webhook) => webhook.post(notice).await,
        }
    }
}
