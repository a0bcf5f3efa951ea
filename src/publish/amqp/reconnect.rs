//! A connection of its own for each client beside the standing views: connect, work, begin again after each fault. Nothing
//! that goes wrong here can hold up what is published for good.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::link::{Fault, Link, place};
use super::refusal::Refusals;
use super::{BACK_OFF_FIRST, BACK_OFF_MAX, jittered};
use crate::config::BrokerConfig;
use crate::status::Status;

/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// What is done with a connection.
pub(super) trait BrokerClient: Send {
    /// What for, in words for the log and the broker.
    const NAME: &'static str;

    /// Works until the connection is of no use any more.
    fn session(&mut self, link: &mut Link) -> impl Future<Output = Fault> + Send;

    /// The connection is gone; `fault` is why, unless the daemon stops.
    fn ended(&mut self, fault: Option<&Fault>);
}

/// Keeps `client` connected until `stop` comes.
pub(super) async fn keep_connected<E: BrokerClient>(
    mut client: E,
    config: &BrokerConfig,
    status: &Status,
    stop: impl Future<Output = ()> + Send,
) {
    tokio::pin!(stop);
    let name = format!("{} {}", status.site, E::NAME);
    let mut back_off = BACK_OFF_FIRST;
    let mut refusals = Refusals::new(E::NAME);
    let mut told = String::new();
    loop {
        let opened = tokio::select! {
            opened = Link::open(config, &name) => opened,
            () = &mut stop => return,
        };
        let fault = match opened {
            Ok(mut link) => {
                debug!("broker {}: connected for {}", place(config), E::NAME);
                let began = Instant::now();
                let fault = tokio::select! {
                    fault = client.session(&mut link) => fault,
                    () = &mut stop => {
                        client.ended(None);
                        link.close().await;
                        return;
                    }
                };
                client.ended(Some(&fault));
                if began.elapsed() > GOOD {
                    back_off = BACK_OFF_FIRST;
                    told.clear();
                    refusals.accepted(status);
                }
                fault
            }
            Err(fault) => fault,
        };
        refusals.see(&fault, config, status);
        tell(E::NAME, config, &fault, &mut told);
        // A person has to act on a refusal: often asked, it is not sooner granted.
        let wait = if matches!(fault, Fault::Refused { .. }) { BACK_OFF_MAX } else { back_off };
        tokio::select! {
            () = sleep(jittered(wait)) => {}
            () = &mut stop => return,
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// One line in the log for each kind of fault. That the broker is away is told by the publisher of standing views.
fn tell(name: &str, config: &BrokerConfig, fault: &Fault, told: &mut String) {
    let (text, place) = (fault.to_string(), place(config));
    match fault {
        Fault::Impossible(_) if *told != text => info!("broker {place}: {name}: {text}"),
        _ => debug!("broker {place}: {name}: {text}"),
    }
    *told = text;
}
