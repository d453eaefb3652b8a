//! A session that was left behind without an end. It is still listened to, and used: what the server
//! grants it after the next session's welcome is what the checker looks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::history::What;
use super::session::{Asked, Heard, Session};
use super::vault::{Unacked, Vault, acknowledge, record_answer, request_to_send};
use super::world::World;

/// How long it is listened to.
const HAUNTING: Duration = Duration::from_secs(15);

/// A session that its person has left behind.
pub struct Ghost {
    pub world: Arc<World>,
    pub vault: Arc<Vault>,
    /// The next session has read its welcome.
    pub has_successor: Arc<AtomicBool>,
    pub session: Session,
}

impl Ghost {
    /// Listens, acknowledges, and sends a message of its own after its successor's welcome.
    pub fn haunt(mut self) {
        let mut unacked = Unacked::default();
        let mut strays = 0;
        let until = Instant::now() + HAUNTING;
        while Instant::now() < until {
            match self.session.listen() {
                Heard::End => break,
                Heard::Nothing => {}
                Heard::Line(line) => match line["id"].as_u64() {
                    Some(id) => {
                        if let Some(asked) = self.session.asked.remove(&id) {
                            record_answer(&self.world, &self.session, id, &asked, &line);
                        }
                    }
                    None => {
                        let (world, session) = (&self.world, &mut self.session);
                        let quick = Duration::from_millis(50);
                        self.vault
                            .hear_event(world, session, &line, &mut unacked, quick);
                    }
                },
            }
            let has_successor = self.has_successor.load(Ordering::Acquire);
            // A connection that has ended is noticed by the next look.
            if has_successor && strays < 3 && !self.world.is_closing() {
                strays += 1;
                self.stray();
            }
            if unacked.due.is_some_and(|due| Instant::now() >= due) {
                acknowledge(&self.world, &mut self.session, &mut unacked);
            }
        }
        self.session.hang_up();
    }

    fn stray(&mut self) {
        let (to, mid) = (
            self.world.names[0].clone(),
            self.vault.next_mid.fetch_add(1, Ordering::Relaxed),
        );
        let (number, again) = (None, false);
        let sent = What::Sent {
            to: to.clone(),
            mid,
            number,
            again,
        };
        self.world
            .record(&self.session.who, self.session.number, sent);
        let request = request_to_send(&to, mid, "stray");
        self.session.ask(Asked::Send { to, mid }, request);
    }
}
