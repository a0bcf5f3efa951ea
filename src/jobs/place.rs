//! A place among the jobs that is reserved while one is being started.

use super::Jobs;

/// A reserved place, given back when no job came into it.
pub(super) struct Place<'a> {
    pub(super) jobs: &'a Jobs,
    pub(super) id: &'a str,
    pub(super) filled: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.jobs.live_mut().remove(self.id);
            self.jobs.registry().release(self.id);
        }
    }
}
