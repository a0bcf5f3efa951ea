//! Steady state on one connection: status before frames, and an eye on a broker that is blocked or has gone quiet. One
//! task; it returns when the connection is of no use any more.

use futures_util::StreamExt;

use super::Publisher;
use super::confirm_channel::{ConfirmChannel, now};
use super::link::{Fault, Link};
use super::message::Message;
use super::outbox::Numbered;
use crate::egress::Outlet;
use crate::frame::Frame;
use crate::status::BrokerState;
use crate::wire;

impl Publisher {
    /// Publishes on `link` until the fence is closed and everything is answered, or until a fault.
    pub(super) async fn session(&mut self, link: &mut Link, outlet: &Outlet) -> Result<(), Fault> {
        let mut channel = ConfirmChannel::new(link.channel.clone());
        let done = self.steady(&mut channel, link, outlet).await;
        done.map_err(|fault| channel.end(&mut self.window, fault))
    }

    async fn steady(&mut self, channel: &mut ConfirmChannel, link: &mut Link, outlet: &Outlet) -> Result<(), Fault> {
        let mut closed = false;
        self.status_messages.connected();
        loop {
            self.see_blocked(link.connection.status().blocked());
            self.gauge(outlet);
            if let Some(next) = self.next_message() {
                self.publish(channel, next);
                continue;
            }
            if closed && self.window.is_settled() && !self.status_messages.has_more() {
                return Ok(());
            }
            let held = self.window.owner.held();
            let held_up = held.is_catching_up() || (outlet.has_backpressure() && held.is_half_full());
            let room = !closed && !held_up && self.window.has_room(now());
            tokio::select! {
                happened = channel.next(&mut self.window) => happened?,
                event = link.events.next() => channel.heard(event, &link.connection)?,
                () = self.status_messages.gather() => {}
                frame = outlet.take(), if room => match frame {
                    Some(frame) => self.publish_frame(channel, &frame),
                    None => closed = true,
                },
            }
        }
    }

    /// What goes before new frames: status, what a lost connection has left, frames that were refused.
    fn next_message(&mut self) -> Option<Numbered> {
        let (now, has_room) = (now(), self.window.has_room(now()));
        if !self.window.is_free(now) {
            return None;
        }
        let outbox = &mut self.window.owner;
        outbox
            .unsettled(true)
            .or_else(|| self.status_messages.pop().map(|message| outbox.put(message)))
            .or_else(|| outbox.unsettled(false))
            .or_else(|| if has_room { outbox.again(now) } else { None })
    }

    fn publish(&mut self, channel: &mut ConfirmChannel, numbered: Numbered) {
        let message = numbered.1.clone();
        channel.publish(&mut self.window, message.exchange(&self.config), numbered, message);
    }

    fn publish_frame(&mut self, channel: &mut ConfirmChannel, frame: &Frame) {
        if self.window.is_too_large(wire::encoded_bytes(frame), now()) {
            return self.status.counters.publish.frames_too_large.add(1);
        }
        let message = Message::frame(frame, &self.status.site, &self.status.counters.narrowed_for_broker);
        let numbered = self.window.owner.put(message);
        self.publish(channel, numbered);
    }

    fn see_blocked(&mut self, blocked: bool) {
        self.status_messages.listened_to(!blocked);
        if self.window.set_blocked(blocked, now()) {
            self.tell(if blocked { BrokerState::Blocked } else { BrokerState::Connected }, None);
        }
    }
}
