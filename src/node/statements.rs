//! The statements of loans that are over, each made beside what shows it: a view waits for bitcoind only while that answers.

use super::statement;
use super::tools::{lock, Tools};
use super::view::{ErrorView, ExitView, StatementView};
use crate::chain::Chain;
use crate::loan::terms::LoanId;
use crate::protocol::Loan;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// A bitcoind that answers nothing for so long is waited for no longer by what only shows something.
const SILENT: Duration = Duration::from_secs(3);
/// Nor is one that answers, and slowly.
const SLOW: Duration = Duration::from_secs(10);
/// Between two looks whether it answers.
const GLANCE: Duration = Duration::from_millis(100);
/// What was made is shown for so long where bitcoind does not say it anew in time.
const KEPT: Duration = Duration::from_secs(600);

/// What a statement came to; nothing while it is being made.
type Said = Option<Result<StatementView, ErrorView>>;

/// Those that are being made, and those made last.
#[derive(Default)]
pub struct Statements(Mutex<HashMap<LoanId, Made>>);

struct Made {
    said: watch::Receiver<Said>,
    last: Option<(Instant, StatementView)>,
}

impl Statements {
    /// What a statement comes to that is being made now: of each loan one at a time.
    fn begin(tools: &Arc<Tools>, loan: Arc<Loan>, ended: Option<ExitView>) -> watch::Receiver<Said> {
        let id = loan.id;
        let mut all = lock(&tools.statements.0);
        all.retain(|_, made| made.is_under_way() || made.recent().is_some());
        if let Some(under_way) = all.get(&id).filter(|made| made.is_under_way()) {
            return under_way.said.clone();
        }
        let (tell, said) = watch::channel(None);
        let last = all.remove(&id).and_then(|made| made.last);
        all.insert(id, Made { said: said.clone(), last });
        let tools = tools.clone();
        tokio::spawn(async move {
            let made = statement::of(&tools, &loan, ended.as_ref()).await;
            if let (Ok(view), Some(kept)) = (&made, lock(&tools.statements.0).get_mut(&id)) {
                kept.last = Some((Instant::now(), view.clone()));
            }
            tell.send_replace(Some(made));
        });
        said
    }

    fn last(&self, id: LoanId) -> Option<StatementView> {
        lock(&self.0).get(&id)?.recent().cloned()
    }
}

impl Made {
    fn is_under_way(&self) -> bool {
        self.said.borrow().is_none() && self.said.has_changed().is_ok()
    }

    fn recent(&self) -> Option<&StatementView> {
        self.last.as_ref().filter(|(at, _)| at.elapsed() < KEPT).map(|(_, view)| view)
    }
}

/// The statement of a loan that is over, as bitcoind says it now or said it some minutes ago.
///
/// # Errors
/// Why there is none yet, in words. What bitcoind did not say in time goes on being asked, for whoever asks next.
pub(super) async fn show(
    tools: &Arc<Tools>,
    loan: Arc<Loan>,
    ended: Option<ExitView>,
) -> Result<StatementView, String> {
    let id = loan.id;
    let mut said = Statements::begin(tools, loan, ended);
    let made = while_it_answers(&tools.chain, said.wait_for(Option::is_some)).await;
    let made = made.and_then(|made| made.ok().and_then(|made| made.clone()));
    let why = match made {
        Some(Ok(view)) => return Ok(view),
        Some(Err(why)) if tools.chain.silence() < SILENT => return Err(why.message),
        Some(Err(why)) => why.message,
        None => "bitcoind has not yet said all that it takes, and is asked on: show the loan again in a while".into(),
    };
    tools.statements.last(id).ok_or(why)
}

/// What is asked of bitcoind for a view; nothing where it is silent meanwhile, or slow.
pub(super) async fn while_it_answers<T>(chain: &Chain, asked: impl Future<Output = T>) -> Option<T> {
    let (mut asked, began) = (pin!(asked), Instant::now());
    loop {
        match timeout(GLANCE, &mut asked).await {
            Ok(said) => return Some(said),
            Err(_) if chain.silence() >= SILENT || began.elapsed() >= SLOW => return None,
            Err(_) => {}
        }
    }
}
