//! How many files and connections this process may have open at once.
//!
//! A system starts a program with a low soft limit (1,024 as a rule) that it may raise itself: so it does, lest a crowd of
//! connections takes the handles that the store, bitcoind and the oracle are reached by.

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

/// More than any of this needs.
const ENOUGH: u64 = 65_536;

/// Raises the limit as far as the system lets it, or far enough; how many there may be then.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    match current {
        Some(current) if current < wanted => {
            match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
                Ok(()) => wanted,
                Err(error) => {
                    tracing::warn!("no more than {current} files and connections may be open at once: {error}");
                    current
                }
            }
        }
        current => current.unwrap_or(ENOUGH),
    }
}

/// Of so many connections as many as leave half of all handles to everything else.
pub fn connections(most: usize) -> usize {
    let half = getrlimit(Resource::Nofile).current.map_or(ENOUGH, |all| all.min(ENOUGH)) / 2;
    most.min(usize::try_from(half).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_may_be_and_connections_leave_half_of_it() {
        let all = raise();
        assert_eq!(getrlimit(Resource::Nofile).current.map_or(ENOUGH, |now| now.min(all)), all);
        assert_eq!(raise(), all, "it stays");
        assert_eq!(connections(3), 3);
        assert!(connections(usize::MAX) as u64 <= ENOUGH / 2);
    }
}
