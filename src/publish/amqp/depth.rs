//! How deep the queues are that jobs watch: asked of the broker once a second, on a channel of its own. A job is held back
//! while any of its queues is deep, until all have come down to half of that.

use std::collections::HashMap;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::link::Fault;
use super::message::short;
use crate::jobs::Jobs;

/// From look to look.
const PERIOD: Duration = Duration::from_secs(1);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Queues that are looked at in one turn, all jobs together.
const MOST_QUEUES: usize = 256;

/// Looks until the connection is of no use any more.
pub(super) async fn watch(connection: &Connection, jobs: &Jobs, deep: usize) -> Fault {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut channel = None;
    loop {
        ticks.tick().await;
        if let Err(fault) = look(connection, &mut channel, jobs, deep).await {
            return fault;
        }
    }
}

async fn look(connection: &Connection, channel: &mut Option<Channel>, jobs: &Jobs, deep: usize) -> Result<(), Fault> {
    let mut depths = HashMap::<String, usize>::new();
    for job in jobs.list() {
        let queues = job.settings().monitored_queues;
        let mut is_deep = false;
        for queue in queues.iter() {
            let depth = match depths.get(queue) {
                Some(depth) => *depth,
                None if depths.len() >= MOST_QUEUES => 0,
                None => {
                    let depth = depth(connection, channel, queue).await?;
                    depths.insert(queue.clone(), depth);
                    depth
                }
            };
            is_deep |= is_too_deep(depth, deep, job.is_throttled());
        }
        job.throttle(is_deep);
    }
    Ok(())
}

/// Whether a queue of `depth` messages holds a job back, or still does.
const fn is_too_deep(depth: usize, deep: usize, already: bool) -> bool {
    depth >= if already { deep.div_ceil(2) } else { deep }
}

/// Messages in a queue; none in one that is not there or that is only another connection's.
async fn depth(connection: &Connection, channel: &mut Option<Channel>, queue: &str) -> Result<usize, Fault> {
    let late = |_| Fault::Away("no answer within 5 s".into());
    let open = match channel.take() {
        Some(open) if open.status().connected() => open,
        _ => timeout(ANSWER, connection.create_channel()).await.map_err(late)??,
    };
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = open.queue_declare(short(queue), options, FieldTable::default());
    match timeout(ANSWER, declared).await.map_err(late)? {
        Ok(found) => {
            *channel = Some(open);
            Ok(found.message_count() as usize)
        }
        // The broker has closed the channel, and only that. It is kept until the next is open: dropped before lapin has
        // said that it knows, it would be closed a second time, and that ends the connection.
        Err(_) if connection.status().connected() => {
            *channel = Some(open);
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deep_stays_so_until_it_is_half_empty() {
        let cases = [(0, false, false), (9, false, false), (10, false, true), (9, true, true), (5, true, true)];
        for (depth, already, wanted) in cases {
            assert_eq!(is_too_deep(depth, 10, already), wanted, "{depth} {already}");
        }
        assert!(!is_too_deep(4, 10, true) && !is_too_deep(0, 1, true));
    }
}
