//! Attacks by accounts that are logged in and let their mail pile up, because they read nothing or
//! are frozen.

use super::load::account::register;
use super::load::flood::Flood;
use super::load::hold::{Holder, Manner, shrink};
use super::load::pair::{Recipient, Sender};
use super::load::peer::Peer;
use super::stage::Attacker;

/// How many accounts read nothing.
const ACCOUNTS: usize = 20;

/// Messages to each account every ten milliseconds: 10,000 per second to all of them.
const BURST: usize = 5;

fn flood(peer: &Peer) -> Flood {
    let sender = |number| Sender::new(peer, &format!("flood{number}"), &name(number));
    Flood::start((0..ACCOUNTS).map(sender).collect(), BURST)
}

fn name(number: usize) -> String {
    format!("victim{number}")
}

/// Ends a flood, and returns how many messages each account was sent.
fn finish(flood: Flood) -> Result<Vec<u64>, String> {
    let senders = flood
        .finish()
        .map_err(|error| format!("a sender: {error}"))?;
    Ok(senders.iter().map(|sender| sender.sent).collect())
}

struct Stuck {
    flood: Flood,
    recipients: Vec<Recipient>,
}

/// Accounts that are sent messages and read nothing.
pub(crate) fn stuck(peer: &Peer) -> Result<Box<dyn Attacker>, String> {
    let recipient = |number| {
        let name = name(number);
        let stream = register(peer.connect(), &name);
        shrink(&stream);
        Recipient::over(stream, peer.kind, &name, "")
    };
    Ok(Box::new(Stuck {
        recipients: (0..ACCOUNTS).map(recipient).collect(),
        flood: flood(peer),
    }))
}

impl Attacker for Stuck {
    fn end(self: Box<Self>, peer: &Peer) -> Result<String, String> {
        let sent = finish(self.flood)?;
        for (recipient, sent) in self.recipients.into_iter().zip(&sent) {
            let mut recipient = recipient;
            // On a new connection: this one's little room would make it slow.
            recipient.vanish();
            recipient.come_back(peer);
            let received = recipient.receive_all(*sent as usize);
            received.map_err(|error| format!("mail is missing: {error}"))?;
        }
        let total: u64 = sent.iter().sum();
        Ok(format!("{total} sent, all read afterwards, in order"))
    }
}

struct Frozen {
    flood: Flood,
    holders: Vec<Holder>,
}

/// Accounts whose clients stop in the middle of their traffic.
pub(crate) fn frozen(peer: &Peer) -> Result<Box<dyn Attacker>, String> {
    let holder = |number| Holder::start(peer, &name(number), Manner::Healthy);
    let holders: Vec<Holder> = (0..ACCOUNTS).map(holder).collect();
    let flood = flood(peer);
    std::thread::sleep(std::time::Duration::from_millis(300));
    for holder in &holders {
        holder.freeze();
    }
    Ok(Box::new(Frozen { flood, holders }))
}

impl Attacker for Frozen {
    fn end(self: Box<Self>, _peer: &Peer) -> Result<String, String> {
        let mut this = *self;
        let sent = finish(this.flood)?;
        for holder in &this.holders {
            holder.thaw();
        }
        for (holder, sent) in this.holders.iter_mut().zip(&sent) {
            holder.expect(*sent)?;
        }
        let total: u64 = sent.iter().sum();
        Ok(format!("{total} sent, all read after SIGCONT, in order"))
    }
}
