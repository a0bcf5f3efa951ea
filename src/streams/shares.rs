//! How many of something may be there at once: in all, and of one owner, so that nobody can take everything. What is
//! taken comes back by `Drop`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. `K` is whose they are; one can be of several owners, such as an address and a token. Cheap to clone.
#[derive(Debug)]
pub(super) struct Shares<K> {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    of: HashMap<K, usize>,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// As many as may be are there.
    All,
    /// One of the owners has as many as one may have.
    Own,
}

/// One that is there; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Share<K: Eq + Hash> {
    owners: Vec<K>,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self { taken: Arc::clone(&self.taken), ..*self }
    }
}

impl<K: Clone + Eq + Hash> Shares<K> {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Arc::new(Mutex::new(Taken { all: 0, of: HashMap::new() })) }
    }

    /// Takes one for `owners`, which differ.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub(super) fn take(&self, owners: &[K]) -> Result<Share<K>, Full> {
        let mut taken = lock(&self.taken);
        if owners.iter().any(|owner| taken.of.get(owner).is_some_and(|&count| count >= self.most_of_one)) {
            return Err(Full::Own);
        }
        if taken.all >= self.most {
            return Err(Full::All);
        }
        taken.all += 1;
        for owner in owners {
            *taken.of.entry(owner.clone()).or_default() += 1;
        }
        Ok(Share { owners: owners.to_vec(), taken: Arc::clone(&self.taken) })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        for owner in &self.owners {
            if let Some(count) = taken.of.get_mut(owner) {
                *count -= 1;
                if *count == 0 {
                    taken.of.remove(owner);
                }
            }
        }
    }
}

fn lock<K>(taken: &Mutex<Taken<K>>) -> MutexGuard<'_, Taken<K>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list, whoever takes and gives back in whatever order.
        #[test]
        fn nobody_has_more_than_a_share_and_nothing_stays(
            steps in prop::collection::vec((any::<bool>(), 0u8..3, 0u8..3, any::<usize>()), 0..200),
        ) {
            let shares = Shares::new(8, 3);
            let mut held: Vec<(Vec<u8>, Share<u8>)> = Vec::new();
            for (take, address, token, which) in steps {
                if !take && !held.is_empty() {
                    held.swap_remove(which % held.len());
                    continue;
                }
                let owners = vec![address, 10 + token];
                let of = |owner: &u8| held.iter().filter(|(owners, _)| owners.contains(owner)).count();
                match shares.take(&owners) {
                    Ok(share) => {
                        prop_assert!(held.len() < 8 && owners.iter().all(|owner| of(owner) < 3));
                        held.push((owners, share));
                    }
                    Err(Full::Own) => prop_assert!(owners.iter().any(|owner| of(owner) == 3)),
                    Err(Full::All) => prop_assert!(held.len() == 8),
                }
            }
            held.clear();
            let taken = lock(&shares.taken);
            prop_assert!(taken.all == 0 && taken.of.is_empty());
        }
    }
}
