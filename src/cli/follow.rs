//! Following a loan until something has come of it: each step as it comes, on standard error, and a way out by Ctrl-C.
//!
//! It only looks. The node goes on by itself, whether anybody waits or not.

use super::amount::short;
use super::client::{Client, Refused};
use super::line::{Ends, Place};
use super::out::{count, moment, tell, Out};
use crate::api::views::{ErrorCode, ErrorView, Exit, LoanId, LoanView, Stage, Status, BY_HAND};
use anyhow::Context;
use clap::Args;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::signal::unix::{signal, SignalKind};

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(300);
/// A lender that was asked to propose a repayment does so within this time, or not any more.
const PROPOSES: Duration = Duration::from_secs(60);
/// The exit code of a command whose loan has no answer yet.
pub(super) const NO_ANSWER: u8 = 4;
/// The exit code of a command that Ctrl-C ended while it waited.
const INTERRUPTED: u8 = 130;

/// How long to wait, and for what.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Wait to the end and say each step: signatures, blocks, confirmations
    #[arg(long)]
    wait: bool,
    /// Otherwise, how long to wait for the lender's answer; 0 for not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 20, conflicts_with = "wait", value_parser = clap::value_parser!(u32).range(0..=600))]
    within: u32,
}

impl Patience {
    /// The lender's answer, or the end.
    pub(super) fn goal(&self) -> Goal {
        if self.wait {
            Goal::End
        } else {
            Goal::Answer
        }
    }

    fn limit(&self) -> Option<Duration> {
        (!self.wait).then(|| Duration::from_secs(self.within.into()))
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// The lender has signed, or has refused.
    Answer,
    /// The loan lives; or, when it is repaid, has ended for good.
    End,
}

/// Where a loan is on its way to the goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Not there: what it waits for.
    Waits(String),
    /// There.
    Done,
    /// It will not get there: why.
    Over(String),
}

/// How the wait ended.
pub(super) enum End {
    /// At the goal.
    Done(LoanView),
    /// Before it, and the loan goes on: what it waits for.
    Waits(LoanView, String),
}

/// Does the lender's node wait for a person's word?
fn is_by_hand(loan: &LoanView) -> bool {
    loan.turn.as_ref().is_some_and(|turn| turn.text.starts_with(BY_HAND))
}

/// A taken quote on its way.
pub(super) fn borrowing(loan: &LoanView, goal: Goal) -> Step {
    let waits = |what: &str| Step::Waits(what.to_owned());
    match &loan.stage {
        Stage::Cancelled => Step::Over(format!("the loan does not come to be: {}", cancelled_because(loan))),
        Stage::Agreed if is_by_hand(loan) => {
            let until = loan
                .turn
                .as_ref()
                .and_then(|turn| turn.until)
                .map(|until| format!(", until {} at most", moment(until)));
            Step::Waits(format!("a person decides for the lender, by hand{}", until.unwrap_or_default()))
        }
        Stage::Agreed | Stage::Preparing => {
            waits("the lender checks your coins and prepares its own, which may take a block")
        }
        Stage::Ready => waits("your node makes the contract"),
        Stage::Offered | Stage::Accepted => waits("the contract is offered; the lender checks and signs it"),
        Stage::Active | Stage::Closing | Stage::Closed => Step::Done,
        _ if goal == Goal::Answer => Step::Done,
        Stage::Signed => waits("both have signed; the lender sends the funding transaction"),
        Stage::Funded | Stage::Confirming => match loan.funding_height {
            None => waits("the funding transaction is out and waits for a block"),
            Some(_) => Step::Waits(confirmations(loan.confirmations.0, loan.confirmations.1)),
        },
    }
}

/// A repayment on its way: as it was when it was asked for, for how long it has been, and the height.
pub(super) fn repaying(asked: &LoanView, loan: &LoanView, goal: Goal, waited: Duration, height: u32) -> Step {
    let was_proposed = asked.repayment.is_some();
    match &loan.stage {
        Stage::Closed => ended_by(loan).map_or(Step::Done, Step::Over),
        Stage::Closing => match (ended_by(loan), goal) {
            (Some(other), _) => Step::Over(other),
            (None, Goal::Answer) => Step::Done,
            (None, Goal::End) => match loan.ended.as_ref().and_then(|ended| ended.height) {
                None => Step::Waits("both have signed; the repayment waits for a block".to_owned()),
                Some(block) => {
                    let has = height.saturating_add(1).saturating_sub(block);
                    Step::Waits(confirmations(has, loan.confirmations.1))
                }
            },
        },
        Stage::Cancelled => Step::Over(cancelled_because(loan)),
        _ => match (&loan.repayment_note, loan.repayment) {
            (Some(note), Some(_)) => Step::Over(format!("{note}; its coin is being taken back")),
            (Some(note), None) if was_proposed || asked.repayment_note.as_ref() != Some(note) => {
                Step::Over(note.clone())
            }
            (None, Some(_)) => Step::Waits("your node has signed; the lender checks and signs".to_owned()),
            (None, None) if was_proposed => Step::Over("it was taken back".to_owned()),
            _ if waited > PROPOSES => Step::Over("the lender was asked to propose it, and has not".to_owned()),
            _ => Step::Waits("the lender is asked to propose it, since no coin is free here".to_owned()),
        },
    }
}

/// Another end than the repayment.
fn ended_by(loan: &LoanView) -> Option<String> {
    let exit = loan.ended.as_ref().and_then(|ended| ended.exit);
    (exit != Some(Exit::Repaid)).then(|| {
        let how = exit.map_or("a spend nobody can name", super::show::exit);
        format!("the loan ends otherwise: {how}")
    })
}

fn cancelled_because(loan: &LoanView) -> String {
    loan.cancelled_because.clone().unwrap_or_else(|| "it was cancelled".to_owned())
}

fn confirmations(has: u32, wanted: u32) -> String {
    format!("{has} of {}", count(wanted.into(), "confirmation"))
}

/// Looks at a loan until `step` says that there is nothing more to wait for, or patience ends. Says each new step.
///
/// # Errors
/// When it will not get there, with the reason; or the node is asked in vain.
pub(super) async fn follow(
    place: &Place,
    client: &Client,
    patience: &Patience,
    first: LoanView,
    step: impl Fn(&LoanView, Duration, u32) -> Step,
) -> anyhow::Result<End> {
    let id = first.loan_id;
    // Listened to from here on, before the first word that somebody may answer with it.
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to Ctrl-C")?;
    let looking = look_on(place.out(), client, patience.limit(), first, step);
    tokio::select! {
        end = looking => end,
        _ = interrupt.recv() => {
            tell(&goes_on(id, &place.again()));
            Err(Ends(INTERRUPTED).into())
        }
    }
}

/// Said to who no longer waits.
fn goes_on(id: LoanId, again: &str) -> String {
    format!(
        "\nNobody waits any more; the node goes on with loan {} by itself.\nLook: {again} loan show {id}",
        short(&id.to_string())
    )
}

async fn look_on(
    out: Out,
    client: &Client,
    limit: Option<Duration>,
    first: LoanView,
    step: impl Fn(&LoanView, Duration, u32) -> Step,
) -> anyhow::Result<End> {
    let (started, id) = (Instant::now(), first.loan_id);
    let (mut loan, mut said, mut away) = (first, String::new(), false);
    loop {
        let height = match &loan.stage {
            Stage::Closing => {
                while_away(&mut away, out, client.get::<Status>("/v1/status")).await?.map(|now| now.height)
            }
            _ => None,
        };
        match step(&loan, started.elapsed(), height.unwrap_or_default()) {
            Step::Done => return Ok(End::Done(loan)),
            Step::Over(why) => return Err(refused(why)),
            Step::Waits(_) if away && limit.is_some_and(|limit| started.elapsed() >= limit) => {
                let text = "what was asked is on its way, and nobody can say what has come of it while no node answers: once it \
                            runs again, see `loan show`";
                return Ok(End::Waits(loan, text.into()));
            }
            Step::Waits(what) if limit.is_some_and(|limit| started.elapsed() >= limit) => {
                return Ok(End::Waits(loan, what));
            }
            Step::Waits(what) if what != said => {
                say(out, &what);
                said = what;
            }
            Step::Waits(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
        if let Some(now) = while_away(&mut away, out, client.get(&format!("/v1/loans/{id}"))).await? {
            loan = now;
        }
    }
}

/// What the node answers; nothing while it is away, which is said once.
async fn while_away<T>(
    away: &mut bool,
    out: Out,
    asked: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    match asked.await {
        Ok(answer) => {
            *away = false;
            Ok(Some(answer))
        }
        Err(error) if is_away(&error) => {
            if !std::mem::replace(away, true) {
                say(out, &format!("{error:#}; waiting for it"));
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Does nobody answer who may come back?
pub(super) fn is_away(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<Refused>().map(|Refused(view)| view.code.as_str());
    [ErrorCode::Unavailable, ErrorCode::TimedOut].iter().any(|away| code == Some(away.word()))
}

/// A step, for a person. Programs are told the end, on standard output.
fn say(out: Out, what: &str) {
    if !out.is_json() {
        tell(&format!("… {what}"));
    }
}

fn refused(why: String) -> anyhow::Error {
    Refused(ErrorView { code: ErrorCode::Refused.word().into(), message: why }).into()
}
