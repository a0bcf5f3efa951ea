//! Log lines for people and for the journal.
