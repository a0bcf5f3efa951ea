//! How much one client may ask: a bucket of tokens for requests that change something, another for those that look.
//!
//! A client is an address; of IPv6 its /64, because whoever has one has all of it. What is remembered of clients is
//! bounded: a bucket that is full again is forgotten.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use serde_json::json;

use crate::config::RateConfig;
use crate::refusal::ApiError;
use crate::streams::access::Client;

/// Full buckets are looked for after so many requests. Fewer clients than this are not worth the look.
const REQUESTS_PER_SWEEP: u32 = 1024;

/// The buckets of all clients.
pub struct Rates<C: Clock = MonotonicClock> {
    configure: Buckets<C>,
    reads: Buckets<C>,
}

struct Buckets<C: Clock> {
    what: &'static str,
    per_s: f64,
    burst: u32,
    limiter: RateLimiter<Client, HashMapStateStore<Client>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    taken: AtomicU32,
}

/// A client has asked too often.
#[derive(Clone, Debug, PartialEq)]
pub struct TooMany {
    /// Until it is worth to ask again.
    pub wait: Duration,
    what: &'static str,
    per_s: f64,
    burst: u32,
}

impl Rates {
    /// As the configuration has it.
    pub fn new(config: &RateConfig) -> Self {
        Self::with_clock(config, &MonotonicClock)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(config: &RateConfig, clock: &C) -> Self {
        Self {
            configure: Buckets::new(
                "requests that change something",
                config.configure_per_s,
                config.configure_burst,
                clock,
            ),
            reads: Buckets::new("requests", config.reads_per_s, config.reads_burst, clock),
        }
    }

    /// Takes one token of the client at `address`, from the bucket for requests that change something or from the other.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub fn take(&self, address: IpAddr, changes: bool) -> Result<(), TooMany> {
        let buckets = if changes { &self.configure } else { &self.reads };
        buckets.take(Client::from(address))
    }
}

impl<C: Clock + Clone> Buckets<C> {
    fn new(what: &'static str, per_s: f64, burst: u32, clock: &C) -> Self {
        let period = Duration::try_from_secs_f64(1.0 / per_s).unwrap_or(Duration::from_secs(1));
        let quota = Quota::with_period(period.max(Duration::from_nanos(1))).expect("the period is not zero");
        let quota = quota.allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN));
        let limiter = RateLimiter::hashmap_with_clock(quota, clock.clone());
        Self { what, per_s, burst, limiter, clock: clock.clone(), taken: AtomicU32::new(0) }
    }

    fn take(&self, client: Client) -> Result<(), TooMany> {
        if self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_SWEEP)
            && self.limiter.len() > REQUESTS_PER_SWEEP as usize
        {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(&client).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            TooMany { wait, what: self.what, per_s: self.per_s, burst: self.burst }
        })
    }
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        // Whole seconds are all that the header has; never zero.
        let seconds = self.wait.as_secs_f64().ceil().max(1.0);
        let advice = format!("ask again in {seconds} s, and less often");
        let reason = format!("one client may send {} {} a second, {} at once", self.per_s, self.what, self.burst);
        let mut refusal =
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", advice)
                .because(reason);
        refusal.details = json!({ "per_second": self.per_s, "at_once": self.burst });
        refusal.retry_after_s = Some(seconds as u32);
        refusal.into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    const CONFIG: RateConfig =
        RateConfig { configure_per_s: 50.0, configure_burst: 4, reads_per_s: 2000.0, reads_burst: 3 };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_an_address_or_a_64() {
        let same = [("127.0.0.1", "::ffff:127.0.0.1"), ("2001:db8::1", "2001:db8:0:0:ffff::2"), ("::1", "::1")];
        let other = [("127.0.0.1", "127.0.0.2"), ("2001:db8::1", "2001:db8:0:1::1"), ("::1", "::2"), ("::", "::1")];
        let client = |text: &str| Client::from(address(text));
        assert!(same.iter().all(|(a, b)| client(a) == client(b)), "{same:?}");
        assert!(other.iter().all(|(a, b)| client(a) != client(b)), "{other:?}");
    }

    #[test]
    fn buckets_are_apart_and_fill_again() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(&CONFIG, &clock);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..4 {
            assert_eq!(rates.take(one, true), Ok(()));
        }
        let refused = rates.take(one, true).unwrap_err();
        assert_eq!(refused.wait, Duration::from_millis(20));
        assert_eq!((rates.take(one, false), rates.take(other, true)), (Ok(()), Ok(())));
        clock.advance(refused.wait);
        assert_eq!(rates.take(one, true), Ok(()));
        assert!(rates.take(one, true).is_err());
        let answer = refused.into_response();
        assert_eq!(
            (answer.status(), &answer.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(&CONFIG, &clock);
        for n in 0..100_000_u32 {
            rates.take(IpAddr::from(n.to_be_bytes()), false).unwrap();
            clock.advance(Duration::from_millis(1));
            assert!(rates.reads.limiter.len() <= 2 * REQUESTS_PER_SWEEP as usize + 2);
        }
    }

    proptest! {
        /// Whatever is asked and when: the definition of a bucket, in whole milliseconds.
        #[test]
        fn as_many_as_a_bucket_holds(waits_ms in prop::collection::vec(0_u32..60, 1..200)) {
            let clock = FakeRelativeClock::default();
            let rates = Rates::with_clock(&CONFIG, &clock);
            // In units of a millisecond; a request costs 20 of them.
            let mut level = 80;
            for wait_ms in waits_ms {
                clock.advance(Duration::from_millis(u64::from(wait_ms)));
                level = (level + wait_ms).min(80);
                let allowed = level >= 20;
                prop_assert_eq!(rates.take(address("192.0.2.1"), true).is_ok(), allowed);
                level -= if allowed { 20 } else { 0 };
            }
        }
    }
}
