//! `[notify]` of the configuration: who is told.

use super::super::config::{quoted, wrong, ConfigError};
use crate::hook::{Exec, Hook, Secret, Webhook};
use serde::Deserialize;

/// What `[notify]` says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A program and its arguments.
    exec: Vec<String>,
    /// An address.
    webhook: Option<String>,
    /// The secret to sign with.
    secret: Option<Shy>,
}

/// A text that is not shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct Shy(String);

impl std::fmt::Debug for Shy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Settings {
    /// The hooks it names.
    ///
    /// # Errors
    /// The setting, its value and what would be right.
    pub fn hooks(&self) -> Result<Vec<Hook>, ConfigError> {
        let mut hooks = Vec::new();
        if !self.exec.is_empty() {
            let remedy = "write the program and its arguments, for example [\"/usr/local/bin/tell\", \"me\"]";
            let exec = Exec::new(&self.exec).ok_or_else(|| wrong("notify.exec", quoted(""), remedy))?;
            hooks.push(Hook::Exec(exec));
        }
        match (&self.webhook, &self.secret) {
            (None, None) => {}
            (Some(url), Some(secret)) => {
                let secret: Secret =
                    secret.0.parse().map_err(|e| wrong("notify.secret", "(not shown)", format!("{e}")))?;
                let webhook =
                    Webhook::new(url, secret).map_err(|remedy| wrong("notify.webhook", quoted(url), remedy))?;
                hooks.push(Hook::Webhook(webhook));
            }
            (Some(url), None) => {
                let remedy = "say notify.secret too: the receiver knows by it that a message is this node's";
                return Err(wrong("notify.webhook", quoted(url), remedy));
            }
            (None, Some(_)) => {
                return Err(wrong("notify.secret", "(not shown)", "say notify.webhook too, or leave both out"))
            }
        }
        Ok(hooks)
    }
}
