//! Who is connected, and who has to go when there is no room: pure, time is passed in.
//!
//! A connection that waits for its client (for a request, or for the rest of one) can be spared; one whose request is
//! being answered cannot. The client with the most connections gives one up, its oldest, and nobody has to make room
//! for a client that has more than it has itself: so connections by the thousand take no place from others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::streams::access::Client;

/// Among clients that have equally many, a connection can be spared after this time: so long a request may need to
/// arrive, even on a busy host.
const SPARED_AFTER_MS: u64 = 1000;

/// Not waiting for the client.
const BUSY: u64 = u64::MAX;

/// What a connection is doing, told by the one that serves it.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<AtomicU64>);

impl Activity {
    /// A request is there in full.
    pub(super) fn busy(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// Waiting for the next request, or for the rest of one.
    pub(super) fn waits(&self, since_ms: u64) {
        self.0.store(since_ms, Ordering::Relaxed);
    }
}

/// All connections, by a key of their server's choice.
pub(super) struct Connections<K> {
    taken: HashMap<K, (Client, Activity)>,
    of_client: HashMap<Client, usize>,
    places: usize,
}

impl<K: Copy + Eq + Hash> Connections<K> {
    pub(super) fn new(places: usize) -> Self {
        Self { taken: HashMap::new(), of_client: HashMap::new(), places }
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= self.places
    }

    /// An activity for a connection that begins.
    pub(super) fn activity(now_ms: u64) -> Activity {
        Activity(Arc::new(AtomicU64::new(now_ms)))
    }

    pub(super) fn insert(&mut self, key: K, client: Client, activity: Activity) {
        self.remove(key);
        *self.of_client.entry(client).or_default() += 1;
        self.taken.insert(key, (client, activity));
    }

    /// A connection has ended; more than once does no harm.
    pub(super) fn remove(&mut self, key: K) {
        let Some((client, _)) = self.taken.remove(&key) else {
            return;
        };
        if let Some(count) = self.of_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&client);
            }
        }
    }

    /// Who can be spared at `now_ms` for one more connection of `newcomer`.
    pub(super) fn dispensable(&self, now_ms: u64, newcomer: Client) -> Option<K> {
        let count = |client| self.of_client.get(client).copied().unwrap_or(0);
        let own = count(&newcomer);
        let waiting = self.taken.iter().filter_map(|(key, (client, activity))| {
            let since_ms = activity.0.load(Ordering::Relaxed);
            let (held, waited_ms) = (count(client), now_ms.saturating_sub(since_ms));
            let can_go = since_ms != BUSY && (held > own + 1 || (held >= own && waited_ms >= SPARED_AFTER_MS));
            can_go.then_some((held, waited_ms, *key))
        });
        waiting.max_by_key(|&(held, waited_ms, _)| (held, waited_ms)).map(|(_, _, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn client(n: u8) -> Client {
        Client::from(IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn whoever_has_most_gives_its_oldest() {
        let mut connections = Connections::new(4);
        let mut held = Vec::new();
        for (key, n, since_ms) in [(0, 1, 0), (1, 2, 100), (2, 2, 50), (3, 2, 200)] {
            let activity = Connections::<u32>::activity(since_ms);
            connections.insert(key, client(n), activity.clone());
            held.push(activity);
        }
        assert!(connections.is_full());
        assert_eq!([3, 1, 2].map(|n| connections.dispensable(900, client(n))), [Some(2), Some(2), None]);
        assert_eq!(connections.dispensable(1300, client(2)), Some(2), "it makes room for itself, once it has waited");
        held[2].busy();
        assert_eq!(connections.dispensable(1300, client(2)), Some(1));
        connections.remove(1);
        connections.remove(1);
        held[3].busy();
        assert!(!connections.is_full());
        assert_eq!(connections.dispensable(1300, client(2)), None, "client 1 has less");
        assert_eq!(connections.dispensable(1300, client(3)), Some(0));
        held[0].waits(1000);
        assert_eq!(connections.dispensable(1300, client(3)), None, "one against none is no excess");
    }

    proptest! {
        /// Against a plain list: no busy one is ever spared and none for a client that has more, counts never drift, and
        /// there is room again in the end.
        #[test]
        fn connections_are_kept_as_in_a_plain_list(steps in prop::collection::vec((0_u8..4, 0_u32..20, 0_u8..3), 0..200)) {
            let mut connections = Connections::new(8);
            let mut plain: HashMap<u32, (Client, Activity, bool)> = HashMap::new();
            for (now_ms, (step, key, n)) in steps.into_iter().enumerate().map(|(i, step)| (i as u64 * 100, step)) {
                match step {
                    0 => {
                        let activity = Connections::<u32>::activity(now_ms);
                        connections.insert(key, client(n), activity.clone());
                        plain.insert(key, (client(n), activity, false));
                    }
                    1 => {
                        connections.remove(key);
                        plain.remove(&key);
                    }
                    _ => if let Some((_, activity, busy)) = plain.get_mut(&key) {
                        *busy = step == 2;
                        if *busy { activity.busy() } else { activity.waits(now_ms) }
                    },
                }
                prop_assert_eq!(connections.is_full(), plain.len() >= 8);
                let of = |client| plain.values().filter(|(c, ..)| *c == client).count();
                let newcomer = client(n);
                if let Some(key) = connections.dispensable(now_ms, newcomer) {
                    let (client, _, busy) = &plain[&key];
                    prop_assert!(!busy && of(*client) >= of(newcomer) && connections.of_client[client] == of(*client));
                }
                let later = connections.dispensable(now_ms + 10 * SPARED_AFTER_MS, newcomer);
                let can_go = plain.values().any(|(client, _, busy)| !busy && of(*client) >= of(newcomer));
                prop_assert_eq!(later.is_some(), can_go);
            }
            for key in 0..20 {
                connections.remove(key);
            }
            prop_assert!(connections.taken.is_empty() && connections.of_client.is_empty());
        }
    }
}
