//! The limit on concurrent requests to one host. It follows the host: it grows while responses arrive at the usual pace,
//! and shrinks when the host throttles requests or answers more slowly (additive increase, multiplicative decrease).

use std::time::Duration;

use reqwest::Method;

/// The limit for a host without a response so far. A host that only answers more slowly gets no lower limit.
pub(super) const START: usize = 8;
/// The highest limit. Each request uses memory for its response, and a connection unless it shares one over HTTP/2.
pub const REQUESTS_MAX: usize = 32;
/// The number of responses at the usual pace after which the limit grows by one.
const STEP: usize = 4;
/// The factor by which the step grows with each decrease. So a limit of the host itself is rarely exceeded.
const STEP_FACTOR: usize = 4;
const STEP_MAX: usize = 1024;
/// The number of responses to requests of one method whose median duration is compared with the usual one. A few slow
/// ones do not change it.
const WINDOW: usize = 8;
/// A median duration counts as slow above this multiple of the usual one, and this much more.
const SLOW_FACTOR: u32 = 2;
const SLOW_MARGIN: Duration = Duration::from_millis(20);
/// The part of a longer median duration that the usual one takes over each time: a lasting change becomes usual.
const DRIFT: u32 = 4;

/// The limit on concurrent requests to one host, and the observations that change it.
#[derive(Debug)]
pub(super) struct RequestLimit {
    limit: usize,
    /// The limit that the host is expected to permit. Up to there, the limit grows with each response.
    expected: usize,
    epoch: Epoch,
    /// True if the host answered a request of this period.
    has_answered: bool,
    step: usize,
    /// The number of responses at the usual pace since the limit last changed.
    on_pace: usize,
    paces: Vec<(Method, Pace)>,
}

/// A period that ends with a decrease of the limit. A response to a request of an earlier period says nothing about the
/// limit since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// An observation of a host.
#[derive(Debug, Clone)]
pub(super) enum Observation {
    /// The host refused a request because there are too many.
    Throttled,
    /// The host answered a request with this method.
    Answered {
        method: Method,
        /// The time from the request to the head of the response.
        duration: Duration,
        /// True if no further request was permitted at that time.
        is_full: bool,
    },
}

/// The reason why a limit was decreased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decrease {
    Throttled,
    Slow,
}

/// The durations of requests with one method.
#[derive(Debug, Default)]
struct Pace {
    /// The usual median duration, once it is known.
    usual: Option<Duration>,
    /// The durations since the last comparison.
    recent: Vec<Duration>,
}

impl Default for RequestLimit {
    fn default() -> Self {
        Self {
            limit: START,
            expected: START,
            epoch: Epoch(0),
            has_answered: false,
            step: STEP,
            on_pace: 0,
            paces: Vec::new(),
        }
    }
}

impl RequestLimit {
    /// Returns the limit.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the current period, to be noted with each request.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Changes the limit by an observation of a request that was sent in the period `sent_in`. Returns the reason of a
    /// decrease.
    pub(super) fn observe(&mut self, sent_in: Epoch, observation: Observation) -> Option<Decrease> {
        if sent_in != self.epoch {
            return None;
        }
        match observation {
            Observation::Throttled => self.decrease(1).then_some(Decrease::Throttled),
            Observation::Answered {
                method,
                duration,
                is_full,
            } => {
                self.has_answered = true;
                if self.pace(method).is_slow_with(duration) {
                    return self.decrease(START).then_some(Decrease::Slow);
                }
                self.on_pace += usize::from(is_full);
                let is_expected = self.limit < self.expected;
                if self.on_pace >= if is_expected { 1 } else { self.step } {
                    self.on_pace = 0;
                    self.limit = REQUESTS_MAX.min(self.limit + 1);
                }
                None
            }
        }
    }

    /// Halves the limit, but not below `least`, and begins a new period. Reports whether the limit is lower now.
    fn decrease(&mut self, least: usize) -> bool {
        let before = self.limit;
        self.limit = before.min(least.max(before / 2));
        // A host that has answered nothing since the last decrease may be down. That says nothing about its limit.
        if self.has_answered && self.limit < before {
            self.step = STEP_MAX.min(self.step * STEP_FACTOR);
            self.expected = before * 3 / 4;
        }
        self.epoch.0 += 1;
        self.has_answered = false;
        self.on_pace = 0;
        self.paces.iter_mut().for_each(|(_, pace)| pace.restart());
        self.limit < before
    }

    fn pace(&mut self, method: Method) -> &mut Pace {
        let known = self.paces.iter().position(|(known, _)| *known == method);
        let index = known.unwrap_or_else(|| {
            self.paces.push((method, Pace::default()));
            self.paces.len() - 1
        });
        &mut self.paces[index].1
    }
}

impl Pace {
    /// Adds a duration. Reports whether the durations since the last comparison are longer than usual.
    fn is_slow_with(&mut self, duration: Duration) -> bool {
        self.recent.push(duration);
        if self.recent.len() < WINDOW {
            return false;
        }
        let (_, median, _) = self.recent.select_nth_unstable(WINDOW / 2);
        let median = *median;
        self.restart();
        let usual = self.usual.unwrap_or(median);
        self.usual = Some(match median.checked_sub(usual) {
            Some(longer) => usual + longer / DRIFT,
            None => median,
        });
        median > usual * SLOW_FACTOR + SLOW_MARGIN
    }

    fn restart(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const USUAL: Duration = Duration::from_millis(60);

    fn answered(duration: Duration, is_full: bool) -> Observation {
        Observation::Answered {
            method: Method::GET,
            duration,
            is_full,
        }
    }

    /// Observes `count` requests that were sent now.
    fn observe(limit: &mut RequestLimit, count: usize, observation: &Observation) {
        for _ in 0..count {
            limit.observe(limit.epoch(), observation.clone());
        }
    }

    #[test]
    fn limit_grows_to_its_maximum_while_the_pace_stays() {
        let mut limit = RequestLimit::default();
        observe(
            &mut limit,
            (REQUESTS_MAX - START) * STEP,
            &answered(USUAL, true),
        );
        assert_eq!(limit.limit(), REQUESTS_MAX);
    }

    #[test]
    fn limit_that_is_not_reached_does_not_grow() {
        let mut limit = RequestLimit::default();
        observe(&mut limit, 1000, &answered(USUAL, false));
        assert_eq!(limit.limit(), START);
    }

    #[test]
    fn throttled_requests_of_one_period_halve_the_limit_once() {
        let mut limit = RequestLimit::default();
        let sent_in = limit.epoch();
        let observed: Vec<_> = (0..START)
            .map(|_| limit.observe(sent_in, Observation::Throttled))
            .collect();
        assert_eq!(observed[0], Some(Decrease::Throttled));
        assert!(observed[1..].iter().all(Option::is_none));
        assert_eq!(limit.limit(), START / 2);
        // The next period starts from there, and a single request is always permitted.
        observe(&mut limit, 10, &Observation::Throttled);
        assert_eq!(limit.limit(), 1);
    }

    /// Plays a host that serves four requests at once for an hour.
    #[test]
    fn host_that_throttles_is_asked_for_more_ever_more_rarely() {
        let mut limit = RequestLimit::default();
        let mut throttled = 0;
        for _ in 0..10_000 {
            if limit.limit() > 4 {
                throttled += 1;
                observe(&mut limit, 1, &Observation::Throttled);
            } else {
                observe(&mut limit, 1, &answered(USUAL, true));
            }
        }
        assert!((4..=12).contains(&throttled), "{throttled}");
        assert!(limit.limit() > 2);
    }

    #[test]
    fn host_that_was_down_soon_gets_as_many_requests_as_before() {
        let mut limit = RequestLimit::default();
        observe(&mut limit, 1, &answered(USUAL, true));
        observe(&mut limit, 1000, &Observation::Throttled);
        assert_eq!(limit.limit(), 1);
        observe(&mut limit, 50, &answered(USUAL, true));
        assert!(limit.limit() >= START, "{}", limit.limit());
    }

    #[test]
    fn slower_responses_halve_the_limit_down_to_its_start() {
        let mut limit = RequestLimit::default();
        observe(&mut limit, 200, &answered(USUAL, true));
        observe(&mut limit, WINDOW, &answered(USUAL * 3, true));
        assert_eq!(limit.limit(), REQUESTS_MAX / 2);
        for factor in [9, 27, 81, 243] {
            observe(&mut limit, WINDOW, &answered(USUAL * factor, true));
        }
        assert_eq!(limit.limit(), START);
        // A host that stays slow is usual at last.
        observe(&mut limit, 10_000, &answered(USUAL * 9, true));
        assert!(limit.limit() > 2 * START, "{}", limit.limit());
    }

    #[test]
    fn few_slow_responses_among_others_change_nothing() {
        let mut limit = RequestLimit::default();
        for _ in 0..100 {
            observe(&mut limit, 2, &answered(USUAL * 99, true));
            observe(&mut limit, 6, &answered(USUAL, true));
        }
        assert_eq!(limit.limit(), REQUESTS_MAX);
    }

    #[test]
    fn methods_are_not_compared_with_one_another() {
        let mut limit = RequestLimit::default();
        for _ in 0..200 {
            observe(&mut limit, 1, &answered(USUAL, true));
            let write = Observation::Answered {
                method: Method::PUT,
                duration: USUAL * 9,
                is_full: true,
            };
            observe(&mut limit, 1, &write);
        }
        assert_eq!(limit.limit(), REQUESTS_MAX);
    }

    fn observation() -> impl Strategy<Value = Observation> {
        let methods = prop_oneof![Just(Method::GET), Just(Method::PUT)];
        let answer = (methods, 0..2000_u64, any::<bool>());
        let answer = answer.prop_map(|(method, millis, is_full)| Observation::Answered {
            method,
            duration: Duration::from_millis(millis),
            is_full,
        });
        prop_oneof![1 => Just(Observation::Throttled), 20 => answer]
    }

    proptest! {
        /// Observes any responses, to requests of the current period and of earlier ones.
        #[test]
        fn every_change_is_small_growth_or_halving(all in vec((observation(), 0..3_u64), 0..500)) {
            let mut limit = RequestLimit::default();
            for (observation, age) in all {
                let (before, epoch) = (limit.limit(), limit.epoch());
                let sent_in = Epoch(epoch.0.saturating_sub(age));
                let decrease = limit.observe(sent_in, observation.clone());
                let after = limit.limit();
                prop_assert!((1..=REQUESTS_MAX).contains(&after));
                match (observation, decrease) {
                    _ if sent_in != epoch => prop_assert_eq!(after, before),
                    (Observation::Throttled, _) => prop_assert_eq!(after, 1.max(before / 2)),
                    (Observation::Answered { .. }, Some(_)) => {
                        prop_assert_eq!(after, START.max(before / 2));
                    }
                    (Observation::Answered { is_full, .. }, None) => {
                        prop_assert!(after == before || (is_full && after == before + 1));
                    }
                }
                prop_assert_eq!(decrease.is_some(), after < before);
                if after < before {
                    prop_assert!(limit.epoch() != epoch);
                }
            }
        }
    }
}
