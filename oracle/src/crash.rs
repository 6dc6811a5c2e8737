//! Kill points for the restart stories: places where a test can make the process die as if the plug were pulled.
//!
//! Never compiled into a release: without `--features faults` a point is an empty inline function.

/// The environment variable that chooses where to die: `name` or `name:n`, dying at the n-th passing (default 1).
#[cfg(feature = "faults")]
pub const VARIABLE: &str = "HYPOTHEC_CRASH_AT";

/// A place the process can be killed at. Without the feature it costs nothing.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// A place the process can be killed at. When `HYPOTHEC_CRASH_AT` names it, the n-th passing ends the process without
/// running a destructor, flushing a buffer or answering a request.
///
/// It asks the system for SIGKILL, and aborts if that is not to be had; both end the process at once.
#[cfg(feature = "faults")]
pub fn point(name: &str) {
    static PLAN: std::sync::OnceLock<Option<Plan>> = std::sync::OnceLock::new();
    let plan = PLAN.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| Plan::parse(&text)));
    if plan.as_ref().is_some_and(|plan| plan.passes(name)) {
        crate::screen::tell(format_args!("crash point {name}: dying"));
        crate::screen::drain();
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

#[cfg(feature = "faults")]
struct Plan {
    name: String,
    passings_left: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "faults")]
impl Plan {
    fn parse(text: &str) -> Option<Plan> {
        let (name, count) = match text.rsplit_once(':') {
            Some((name, count)) => (name, count.parse().ok().filter(|count| *count > 0)?),
            None => (text, 1),
        };
        (!name.is_empty()).then(|| Plan { name: name.to_owned(), passings_left: count.into() })
    }

    /// Counts one passing of `name`; true at the passing that was chosen.
    fn passes(&self, name: &str) -> bool {
        self.name == name && self.passings_left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1
    }
}

#[cfg(all(test, feature = "faults"))]
mod tests {
    use super::Plan;

    #[test]
    fn a_plan_fires_once_at_the_chosen_passing() {
        let plan = Plan::parse("signed:3").unwrap();
        let fired: Vec<bool> = ["signed", "sent", "signed", "signed", "signed"].map(|name| plan.passes(name)).to_vec();
        assert_eq!(fired, [false, false, false, true, false]);
    }

    #[test]
    fn a_plan_without_a_number_fires_at_the_first_passing() {
        assert!(Plan::parse("signed").unwrap().passes("signed"));
    }

    #[test]
    fn a_plan_that_says_nothing_is_no_plan() {
        assert!(["", ":2", "signed:0", "signed:x"].iter().all(|text| Plan::parse(text).is_none()));
    }
}
