//! stub
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Answer, Event, News};
use crate::protocol::request::{self, Outcome};
use crate::server::delivery::Author;
use crate::server::delivery::mailbox::TurnedAway;
use crate::server::delivery::resend::Resends;
use crate::server::delivery::sessions::Precedence;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::Store;
use crate::store::homes::RunId;
use crate::transport::tls::Acceptor;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
pub(crate) struct Forward {
    pub author: Author,
    pub send: request::Send,
    pub first: bool,
}
pub(crate) enum Forwarded {
    Answer(Answer),
    NotHere,
    Lost,
}
pub(crate) type OnForwarded = Box<dyn FnOnce(Forwarded, &mut FlushSet) + Send>;
#[derive(Clone)]
pub(crate) enum Call {
    Outcome {
        author: Author,
        outcome: Outcome,
    },
    Release {
        name: UserName,
        to: RunId,
        precedence: Precedence,
        why: Option<Refusal>,
    },
    Notice {
        name: UserName,
        news: News,
    },
    BansChanged,
    TellExpired {
        name: UserName,
    },
    Sessions,
    Ping,
}
pub(crate) enum Called {
    Answer(Answer),
    NotHere,
    Released {
        turned_away: TurnedAway,
        displaced: bool,
    },
    OnlineElsewhere,
    Busy,
    Sessions(Vec<PeerSession>),
    Done,
}
pub(crate) struct PeerSession {
    pub name: UserName,
    pub address: Option<String>,
    pub since: u64,
    pub shown: bool,
}
#[derive(Debug)]
pub(crate) struct Unreachable;
pub(crate) struct Peers;
pub(crate) mod link {
    pub(crate) struct Link;
    impl Link {
        pub(crate) fn forward(&self, _f: super::Forward, _d: super::OnForwarded) {}
    }
}
impl Peers {
    pub(crate) fn new(
        _run: RunId,
        _store: Arc<dyn Store>,
        _tls: Option<Arc<Acceptor>>,
    ) -> Arc<Self> {
        todo!()
    }
    pub(crate) fn run(&self) -> RunId {
        todo!()
    }
    pub(crate) fn listen(&self, _on: SocketAddr) -> std::io::Result<TcpListener> {
        todo!()
    }
    pub(crate) fn start(
        self: &Arc<Self>,
        _l: TcpListener,
        _h: Arc<dyn Host>,
        _s: Arc<AtomicBool>,
    ) -> std::io::Result<()> {
        todo!()
    }
    pub(crate) fn link(&self, _to: RunId) -> Result<Arc<link::Link>, Unreachable> {
        todo!()
    }
    pub(crate) fn call(
        &self,
        _to: RunId,
        _call: Call,
        _p: Duration,
    ) -> Result<Called, Unreachable> {
        todo!()
    }
    pub(crate) fn event(&self, _to: RunId, _name: UserName, _event: Event) {}
    pub(crate) fn ended(&self, _run: RunId) {}
}
pub(crate) trait Host: Send + Sync {
    fn forwarded(
        &self,
        forward: Forward,
        again: &mut Resends,
        reply: PeerReply,
        to_flush: &mut FlushSet,
    );
    fn called(&self, call: Call) -> Called;
    fn event(&self, name: UserName, event: Event, to_flush: &mut FlushSet);
}
#[derive(Clone)]
pub(crate) struct PeerReply;
impl PeerReply {
    pub(crate) fn answer(self, _f: Forwarded) {}
}
