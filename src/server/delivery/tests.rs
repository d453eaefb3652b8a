//! What needs more than one mailbox: opening them, folding the store's log, and receipts to those who do
//! not read.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::mailbox::Receipt;
use super::sessions::{Candidate, Precedence};
use super::*;
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::request::KdfParams;
use crate::server::net::send_queue::SendQueue;
use crate::store::expiry::{ExpiredMail, Key, Look, Untold};
use crate::store::homes::Homes;
use crate::store::lease::Lease;
use crate::store::personal_data::{After, Person, PersonalPage, Section};
use crate::store::purge::{Part, Trace, Traces};
use crate::store::sqlite::Sqlite;
use crate::store::successions::Successions;
use crate::store::{
    Account, Ban, Batch, Change, Changed, ListedAccount, ListedInvitation, Message, NewAccount,
    Page, PageBounds, Place, Reset, SearchHit, UserId,
};
use crate::transport::socket::Socket;

/// A store whose mailboxes open, and whose log is folded, only when the gate opens.
struct Gated {
    store: Sqlite,
    begun: AtomicUsize,
    gate: Mutex<bool>,
    opened: Condvar,
    long_log: AtomicBool,
}

impl Gated {
    fn wait_for_gate(&self) {
        let mut open = self.gate.lock();
        while !*open {
            open = self.opened.wait(open);
        }
    }

    fn open_gate(&self) {
        *self.gate.lock() = true;
        self.opened.notify_all();
    }
}

impl Homes for Gated {}

impl ExpiredMail for Gated {
    fn due(&self, after: UserId, before: u64) -> Result<Look, StoreError> {
        self.store.due(after, before)
    }
    fn expired(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        self.store.expired(recipient, numbers)
    }
    fn expired_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        self.store.expired_after(recipient, number, limit)
    }
    fn untold(&self, sender: UserId, after: Key, limit: usize) -> Result<Vec<Untold>, StoreError> {
        self.store.untold(sender, after, limit)
    }
}

impl Traces for Gated {
    fn traces(&self, account: UserId, after: Key) -> Result<Part<Trace>, StoreError> {
        self.store.traces(account, after)
    }
    fn blockers(&self, account: UserId, after: Key) -> Result<Part<UserId>, StoreError> {
        self.store.blockers(account, after)
    }
}

impl Store for Gated {
    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let summary = self.store.summary(recipient);
        self.wait_for_gate();
        summary
    }

    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.store.account(name)
    }
    fn accounts(
        &self,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        self.store.accounts(after, limit)
    }
    fn listed_account(&self, name: &UserName) -> Result<Option<ListedAccount>, StoreError> {
        self.store.listed_account(name)
    }
    fn reset(&self, user: UserId) -> Result<Option<Reset>, StoreError> {
        self.store.reset(user)
    }
    fn invitations(&self, after: i64, limit: usize) -> Result<Vec<ListedInvitation>, StoreError> {
        self.store.invitations(after, limit)
    }
    fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        self.store.bans()
    }
    fn successions(&self) -> Result<Successions, StoreError> {
        self.store.successions()
    }
    fn blocks(&self, user: UserId, whom: UserId) -> Result<bool, StoreError> {
        self.store.blocks(user, whom)
    }
    fn search(
        &self,
        asker: UserId,
        prefix: &str,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError> {
        self.store.search(asker, prefix, after, limit)
    }
    fn blocked(&self, user: UserId) -> Result<Vec<UserName>, StoreError> {
        self.store.blocked(user)
    }
    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError> {
        self.store.page(recipient, bounds)
    }
    fn message(&self, recipient: UserId, number: u64) -> Result<Option<Message>, StoreError> {
        self.store.message(recipient, number)
    }
    fn places(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        self.store.places(recipient, numbers)
    }
    fn places_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        self.store.places_after(recipient, number, limit)
    }
    fn personal_data(
        &self,
        person: Person<'_>,
        section: Section,
        after: After,
        limit: usize,
    ) -> Result<PersonalPage, StoreError> {
        self.store.personal_data(person, section, after, limit)
    }

    fn epoch(&self) -> Option<[u8; 16]> {
        None
    }

    fn first_number(&self) -> u64 {
        self.store.first_number()
    }
    fn secret(&self) -> [u8; 32] {
        self.store.secret()
    }
    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError> {
        self.store.commit(batch)
    }
    fn reclaim(&self) -> Result<bool, StoreError> {
        self.store.reclaim()
    }
    fn wants_folding(&self) -> bool {
        self.long_log.load(Ordering::SeqCst)
    }
    fn prepare_folding(&self, beside_mail: bool) {
        self.long_log.store(false, Ordering::SeqCst);
        self.store.prepare_folding(beside_mail);
    }
    fn fold(&self, beside_mail: bool) -> Result<(), StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.wait_for_gate();
        self.store.fold(beside_mail)
    }
    fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }
}

/// A delivery over a store with the account bob.
fn delivery(folder: &std::path::Path, open: bool) -> (Arc<Delivery>, Arc<Gated>) {
    let store = Sqlite::open(&folder.join("chat.db")).unwrap();
    let account = NewAccount {
        name: "bob".parse().unwrap(),
        kdf: KdfParams {
            salt: ByteArray([1; 16]),
            memory_kib: 65536,
            passes: 3,
            lanes: 1,
        },
        login_key: ByteArray([2; 32]),
        created: 1,
        invitation: None,
    };
    let batch = Batch {
        changes: vec![Change::Register(account)],
        ..Batch::default()
    };
    store.commit(&batch).unwrap();
    let store = Arc::new(Gated {
        store,
        begun: AtomicUsize::new(0),
        gate: Mutex::new(open),
        opened: Condvar::new(),
        long_log: AtomicBool::new(false),
    });
    let quota = Quota {
        messages: 100,
        bytes: 1 << 20,
        share: 100,
    };
    let delivery = Delivery::new(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::default(),
        Arc::default(),
        Arc::default(),
        quota,
        true,
    );
    (Arc::new(delivery), store)
}

#[test]
fn a_mailbox_is_opened_once_however_many_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let (delivery, store) = delivery(folder.path(), false);
    let bob: UserName = "bob".parse().unwrap();
    let all = std::thread::scope(|scope| {
        let open = || delivery.mailbox(&bob).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        // All but the first are waiting for it, or come when it is there.
        while store.begun.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        store.open_gate();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect::<Vec<_>>()
    });
    assert!(all.iter().all(|mailbox| Arc::ptr_eq(mailbox, &all[0])));
    assert_eq!(store.begun.load(Ordering::SeqCst), 1);
    // One that can't be opened keeps nobody waiting.
    let nobody: UserName = "nobody".parse().unwrap();
    assert!(delivery.mailbox(&nobody).is_err() && delivery.mailbox(&nobody).is_err());
}

#[test]
fn a_mailbox_that_was_dropped_goes_on_with_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (delivery, _) = delivery(folder.path(), true);
    let bob: UserName = "bob".parse().unwrap();
    let mailbox = delivery.mailbox(&bob).unwrap();
    let first = mailbox.lock().machine.next_number();
    drop(mailbox);
    let mut mailboxes = delivery.mailboxes.lock();
    mailboxes.first_number = first + 7;
    mailboxes.by_name.clear();
    drop(mailboxes);
    let mailbox = delivery.mailbox(&bob).unwrap();
    assert_eq!(mailbox.lock().machine.next_number(), first + 7);
}

#[test]
fn who_does_not_read_gets_no_receipts_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let (delivery, _) = delivery(folder.path(), true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let send_queue = Arc::new(SendQueue::new(
        Socket::new(stream).unwrap(),
        Arc::default(),
        Lease::for_ever(),
    ));
    let alice: UserName = "alice".parse().unwrap();
    let candidate = Candidate {
        name: alice,
        user: UserId(9),
        secret: ByteArray([0; 16]),
        send_queue: Arc::clone(&send_queue),
        present: true,
        version: delivery.sessions.version(),
    };
    let inserted = delivery.sessions.insert(candidate, Precedence::Yield);
    assert!(inserted.is_ok());
    // Ten MiB of receipts, of which nothing is written.
    for _ in 0..300 {
        let receipts = (0..1000).map(|_| Receipt {
            user: UserId(2),
            sender: alice,
            mid: MessageId([7; 16]),
        });
        let receipts = receipts.collect();
        let mut to_flush = FlushSet::default();
        delivery.send_receipts("bob".parse().unwrap(), receipts, &mut to_flush);
    }
    assert!(!send_queue.has_room() && !send_queue.is_saturated());
}

#[test]
fn a_change_does_not_wait_for_the_folding_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (_, store) = delivery(folder.path(), false);
    store.long_log.store(true, Ordering::SeqCst);
    let writer = Arc::new(Writer::default());
    let ended = writer
        .start(Arc::clone(&store) as Arc<dyn Store>, Arc::default())
        .unwrap();
    while store.begun.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let patience = Duration::from_secs(60);
    let changed = writer.submit(Change::Seen(UserId(1), 7));
    assert_eq!(
        changed.recv_timeout(patience).unwrap().unwrap(),
        Changed::Done
    );
    // Whoever stops it waits for the folding.
    writer.stop();
    assert!(ended.recv_timeout(Duration::from_millis(20)).is_err());
    store.open_gate();
    assert!(ended.recv_timeout(patience).unwrap().closed.is_ok());
}
