//! A message of a known type that cannot be read: its sender is told, so that nobody waits for an answer that cannot come.

use super::core::{refused, Core};
use super::limits::Task;
use super::tools::lock;
use crate::loan::terms::LoanId;
use crate::peer::Frame;
use crate::protocol::ending::Ending;
use crate::protocol::messages::{about, MessageError, Named, Refused, QUOTE, REFUSED};
use crate::protocol::ErrorCode;
use bitcoin::secp256k1::PublicKey;
use std::time::Instant;

impl Core {
    /// Refuses it by name. What it is about ends as after any other refusal of ours.
    pub(super) fn on_unreadable(&mut self, peer: PublicKey, frame: &Frame, error: &MessageError) -> anyhow::Result<()> {
        tracing::debug!(%peer, "message of type {} refused: {error}", frame.kind);
        // Two nodes that cannot read each other's refusals would go on for ever.
        if frame.kind == REFUSED {
            return Ok(());
        }
        let text = format!("a message of type {} cannot be read: {error}", frame.kind);
        let named = about(frame.kind, &frame.bytes);
        let about = named.map(Named::bytes).unwrap_or_default();
        if let Some(waiter) =
            named.filter(|_| frame.kind == QUOTE).and_then(|_| lock(&self.tools.waiters).remove(&about))
        {
            let code = ErrorCode::Unreadable.word().into();
            let _ = waiter.send(Err(Refused { about, code, message: text.clone() }));
        }
        // An answer costs us more than the shred that asks for it costs its sender.
        if !self.limits.take(peer, Task::Work, Instant::now()) {
            return Ok(());
        }
        self.send(peer, &refused(about, ErrorCode::Unreadable, &text));
        let Some(Named::Loan(id)) = named else { return Ok(()) };
        let id = LoanId(id);
        if let Some(loan) = self.loans.get(&id).filter(|loan| loan.peer == peer) {
            // Where nothing was signed that the other side could use, the loan ends here.
            let ending = Ending::WeRefused(ErrorCode::Unreadable);
            return self.tell(id, self.cancel_for(loan, ending, format!("we refused: {text}")));
        }
        if self.requests.get(&id).is_some_and(|request| request.peer() == peer) {
            return self.end_unreadable_request(id, &text);
        }
        Ok(())
    }
}
