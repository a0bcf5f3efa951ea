//! What may change while the daemon runs: credentials. A reload exchanges the value, and whoever uses it looks each time.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::Secret;

/// A value that can be exchanged while it is in use. Clones share it: a configuration that was handed on is the same one.
pub struct Reloadable<T>(Arc<RwLock<Arc<T>>>);

impl<T> Reloadable<T> {
    /// With its first value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The present value.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exchanges the value, for all who share it.
    pub fn set(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T: PartialEq> Reloadable<T> {
    /// Takes the value of `other` over; whether that is another one.
    pub fn follow(&self, other: &Self) -> bool {
        let differs = self != other;
        if differs {
            self.set(other.get());
        }
        differs
    }
}

impl<T> Clone for Reloadable<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Reloadable<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: PartialEq> PartialEq for Reloadable<T> {
    fn eq(&self, other: &Self) -> bool {
        *self.get() == *other.get()
    }
}

impl<T: fmt::Debug> fmt::Debug for Reloadable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// As whom the broker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password; never shown.
    pub password: Secret,
}
