//! Scenarios in which a mailbox leaves the server's memory amid its traffic: another server wants it,
//! or its account's name is given away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::explorer::explore;
use super::robots::{Sending, receiver, rival, sender, start};
use super::stage::{LOGIN_KEY, NAMES, Stage, key, stored};
use super::{ALICE, BOB, CAROL, DAVE, conclude};
use crate::protocol::ids::ByteArray;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::delivery::homes::Release;
use crate::server::delivery::purge::Purged;
use crate::server::delivery::sessions::{Precedence, Session};
use crate::server::requests::login::{end_displaced, end_session};
use crate::server::requests::register::remove_account;
use crate::server::stats::Ending;
use crate::store::homes::RunId;
use crate::store::{Changed, NewAccount, UserId};
use crate::sync;

/// The pause before what the disk refused is tried again.
const AGAIN: Duration = Duration::from_millis(1);

impl Stage {
    /// Lets a user's mailbox go to another server.
    fn release(&self, user: usize) -> Release {
        let shared = self.shared();
        let end = |session: &Session| end_displaced(Some(session), Ending::Replaced);
        let name = NAMES[user].parse().unwrap();
        let released = shared
            .delivery
            .release(&name, RunId(2), Precedence::TakeOver, end);
        released.unwrap_or(Release::Busy)
    }

    /// Checks that at the moment at which a mailbox moves nothing of it is in memory only, and that its
    /// owner's session has ended.
    fn watch_moves(self: &Arc<Self>) {
        let stage = Arc::downgrade(self);
        self.disk.on_move(Box::new(move |owner, mail| {
            let Some(stage) = stage.upgrade() else {
                return;
            };
            let owner = owner.0 as usize - 1;
            let stored: BTreeSet<_> = mail.iter().map(|((to, _), it)| key(*to, it)).collect();
            let mut seen = stage.seen();
            for message in seen.accepted.iter().filter(|(_, to, _)| *to == owner) {
                assert!(
                    seen.vault.contains(message) || stored.contains(message),
                    "{message:?} stays behind"
                );
            }
            // Like a session of the other server: what acts for the owner afterwards fails.
            let granted = seen.granted.len();
            seen.granted
                .push((owner, u64::MAX - granted as u64, granted));
        }));
    }

    /// Deletes an account and gives its name away, as the operator's commands do, until the disk lets it.
    fn give_away(&self, user: usize) {
        let shared = self.shared();
        let name = NAMES[user].parse().unwrap();
        let account = shared.store.account(&name).unwrap().unwrap();
        let removed = loop {
            let mailbox = shared.delivery.mailbox(&name).unwrap();
            match remove_account(&shared, &account, None, Some(&mailbox)) {
                Ok(session) => break session,
                Err(_) => sync::sleep(AGAIN),
            }
        };
        if let Some(session) = removed {
            end_session(&session, Refusal::new(Code::SessionEnded, "removed"));
        }
        let mut progress = |_: Purged| match sync::choose(4) {
            0 => Err(Refusal::new(
                Code::Internal,
                "the operator's command has ended",
            )),
            _ => Ok(()),
        };
        let new = || NewAccount {
            name,
            kdf: account.kdf,
            login_key: ByteArray(LOGIN_KEY.public()),
            created: 1,
            invitation: None,
        };
        loop {
            shared.sessions.credentials_changed(&name, None);
            let given = shared
                .delivery
                .give_name_away(account.id, new(), &mut progress);
            match given {
                Ok((changed, _)) => {
                    assert!(matches!(changed, Changed::Registered(_)));
                    return;
                }
                Err(_) => sync::sleep(AGAIN),
            }
        }
    }
}

/// Another server wants a recipient's mailbox, again and again, while they get mail and log in once more.
#[test]
fn released() {
    explore("released", || {
        let stage = Stage::new();
        stage.watch_moves();
        stage
            .disk
            .stall(Duration::from_millis([0, 3][sync::choose(2)]));
        let rival = rival(&stage, BOB, 2);
        let releasing = Arc::clone(&stage);
        let other = start("other server", move || {
            for accepted in [sync::choose(3), sync::choose(6)] {
                releasing.wait_until(|seen| seen.accepted.len() >= accepted);
                // The other server asks once more if the time has run out.
                while !matches!(releasing.release(BOB), Release::Done { .. }) {}
            }
        });
        let senders = vec![
            sender(&stage, Sending::small(ALICE, &[BOB], 4)),
            sender(&stage, Sending::small(CAROL, &[BOB], 2)),
        ];
        other.join().unwrap();
        rival.join().unwrap();
        receiver(&stage, BOB, 4096, usize::MAX);
        conclude(&stage, senders);
    });
}

/// An account is deleted and its name given away, while its mail waits for others, also in memory only, and
/// the disk refuses some commits: nothing of it comes after the first message of the name's next owner.
#[test]
fn given_away() {
    explore("given_away", || {
        let stage = Stage::new();
        for sequence in 1..=3 {
            stage.disk.add_message(BOB, stored(ALICE, sequence, 3));
            stage.disk.add_message(ALICE, stored(DAVE, sequence, 3));
            stage.disk.add_message(CAROL, stored(DAVE, sequence, 3));
        }
        let mut silent = stage.connect(BOB, 4096).unwrap();
        let acknowledges = sync::choose(2) == 0;
        let reader = start("reader", move || {
            if silent.log_in() {
                while let Some(line) = silent.line() {
                    silent.take(&line, acknowledges);
                }
            }
        });
        let mut first = stage.connect(ALICE, 4096).unwrap();
        assert!(first.log_in());
        let old = start("old", move || {
            first.send_all(BOB, 11..=14);
            while first.line().is_some() {}
        });
        stage.disk.fail(sync::choose(3) as u32);
        stage.give_away(ALICE);
        old.join().unwrap();
        assert!(
            stage.disk.mail().iter().all(|(to, message)| {
                *to != UserId(ALICE as i64 + 1) && message.sender != UserId(ALICE as i64 + 1)
            }),
            "it is stored once more"
        );
        let mut next = stage.connect(ALICE, 4096).unwrap();
        assert!(next.log_in());
        assert!(next.send(BOB, 101, 3, false));
        stage.wait_until(|seen| seen.vault.contains(&(ALICE, BOB, 101)));
        next.reset();
        conclude(&stage, Vec::new());
        drop(reader);
    });
}
