//! An oracle that counts what it is asked, and what is left for the watch.

use super::super::{OracleClient, OracleError};
use super::{impostor, some_key, World, CSV};
use hypothec_oracle::daemon::{self, Config, FeedChoice};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_answered_while_jobs_ask_without_end_and_the_oracle_counts() {
    let world = World::new();
    let limits = daemon::Limits { requests_per_second: Some(20), ..daemon::Limits::default() };
    let config = Config { limits, ..world.config(FeedChoice::Replay(CSV.into())) };
    let oracle = daemon::start(config).await.unwrap();
    let jobs = OracleClient::new(&oracle.url(), oracle.key).unwrap();
    let watch = jobs.for_watch();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let jobs = jobs.clone();
        asking.spawn(async move {
            for _ in 0..200 {
                assert!(!matches!(jobs.spot().await, Err(OracleError::Refused { status: 429, .. })));
            }
        });
    }
    let asked = Instant::now();
    for _ in 0..150 {
        watch.spot().await.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(asking.try_join_next().is_none(), "the jobs wait for their turns");
    asking.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_that_says_too_many_is_left_alone_as_long_as_it_says_within_reason() {
    let url = impostor("429 Too Many Requests\r\nRetry-After: 4000000000", "{}".to_string()).await;
    let client = OracleClient::new(&url, some_key()).unwrap();
    let watch = client.for_watch();
    assert!(matches!(client.spot().await, Err(OracleError::Refused { status: 429, .. })));
    let error = client.spot().await.unwrap_err();
    assert!(matches!(error, OracleError::Crowded { seconds: 31..=61, .. }), "{error}");
    // The watch has its own word from the oracle.
    assert!(matches!(watch.spot().await, Err(OracleError::Refused { status: 429, .. })));
}
