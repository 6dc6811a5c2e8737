//! Which loan is meant: its id, any beginning of it that no other has, or the short form that lists print.

use super::line::Place;
use super::out::count;
use crate::api::views::{LoanId, LoanView};
use anyhow::bail;
use clap::Args;

/// Which loan.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its id, the beginning of it, or its short form as lists print it, 1a2b3c4d…9f0e
    #[arg(value_name = "LOAN", value_parser = named)]
    loan: Named,
}

/// A loan as somebody types it: how its id begins, and how it ends where that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    begin: String,
    end: String,
}

impl Named {
    fn fits(&self, id: &str) -> bool {
        id.starts_with(&self.begin) && id.ends_with(&self.end)
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dots = if self.end.is_empty() { "" } else { "…" };
        write!(f, "{}{dots}{}", self.begin, self.end)
    }
}

impl Which {
    /// The one loan that is meant.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn find(&self, place: &Place) -> anyhow::Result<LoanId> {
        if let Ok(id) = self.loan.begin.parse() {
            return Ok(id);
        }
        let loans: Vec<LoanView> = place.client()?.get("/v1/loans").await?;
        let ids = loans.iter().map(|loan| loan.loan_id);
        let found: Vec<LoanId> = ids.filter(|id| self.loan.fits(&id.to_string())).collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => bail!("loan {}: no loan begins so; see `{} loan list`", self.loan, place.again()),
            some => bail!(
                "loan {}: {} begin so; give more digits",
                self.loan,
                count(u64::try_from(some.len()).unwrap_or(u64::MAX), "loan")
            ),
        }
    }
}

fn named(text: &str) -> Result<Named, String> {
    let lower = text.to_ascii_lowercase().replace("...", "…");
    let (begin, end) = lower.split_once('…').unwrap_or((&lower, ""));
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match begin.len().saturating_add(end.len()) {
        4..=64 if is_hex(begin) && is_hex(end) && !begin.is_empty() => {
            Ok(Named { begin: begin.to_owned(), end: end.to_owned() })
        }
        _ => {
            Err("write a loan's id, its short form as lists print it, or at least its first 4 of 64 hex digits".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_is_named_by_its_beginning_or_by_the_form_that_is_printed() {
        let id = "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
        for text in ["d01e", "D01E2A", id, "d01e2a31…f2d0", "d01e2a31...f2d0", &super::super::amount::short(id)] {
            assert!(named(text).unwrap().fits(id), "{text}");
        }
        assert!(!named("d01e2a31…f2d1").unwrap().fits(id));
        for text in ["", "d01", "xyz1", "…f2d0", "d01e…xyz", &"a".repeat(65)] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
