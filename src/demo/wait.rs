//! Waiting for facts: look, and look again soon, until it is so or it takes too long.

use std::future::Future;
use std::time::Duration;
use tokio::time::{sleep, Instant};

/// Between two looks. Real time.
const GLANCE: Duration = Duration::from_millis(10);

/// Longest wait for anything that other processes do by themselves. Real time, and generous: machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until `look` says `Ok`, and returns what it found. An `Err` says what is not so yet.
///
/// # Errors
/// After `patience`: what was waited for, and what was not so the last time.
pub async fn until<T, F>(what: &str, patience: Duration, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + patience;
    let mut not_yet = "there was no answer".to_string();
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(reason)) => not_yet = reason,
            // Cut short: what was not so before says more.
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            anyhow::bail!("waited {} s for {what}, but {not_yet}", patience.as_secs());
        }
        sleep(GLANCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_named_with_what_was_there_instead() {
        let error = until::<(), _>("rain", Duration::from_millis(30), || async { Err("the sun shines".to_string()) });
        assert_eq!(error.await.unwrap_err().to_string(), "waited 0 s for rain, but the sun shines");
        let hung = until::<(), _>("rain", Duration::from_millis(30), std::future::pending);
        assert!(hung.await.unwrap_err().to_string().contains("no answer"));
    }

    #[tokio::test]
    async fn a_fact_is_found_at_the_look_that_shows_it() {
        let mut looks = 0;
        let found = until("three", PATIENCE, || {
            looks += 1;
            let looks = looks;
            async move { (looks == 3).then_some(looks).ok_or_else(|| looks.to_string()) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }
}
