//! What goes wrong: servers that die, stop, fall silent or speak nonsense. Each message hears of it once.

use std::net::TcpListener;

use super::*;
use crate::server::peers::connection::{PeerConnection, Received};
use crate::server::peers::frames::FrameBuffer;
use crate::server::peers::handshake::{self, Known};
use crate::server::peers::wire;
use crate::transport::socket::Socket;

/// A server that is one by its proofs alone: the test says what it does with its connection.
fn double(scene: &Scene, then: impl FnOnce(Known) + std::marker::Send + 'static) -> RunId {
    let (us, _lease) = scene.us(None);
    let run = us.run;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.directory.lock().unwrap().push(Node {
        run,
        name: "double".to_owned(),
        address: Some(listener.local_addr().unwrap()),
    });
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let (known, _) = handshake::accept(&us, stream).unwrap();
        then(known);
    });
    run
}

/// Keeps the replies, and so never answers.
fn keeping(kept: &Arc<Mutex<Vec<PeerReply>>>) -> OnMessage {
    let kept = Arc::clone(kept);
    Box::new(move |_, reply| kept.lock().unwrap().push(reply))
}

fn send_some(from: &Server, to: RunId, results: &Arc<Results>, count: u64) {
    for at in 0..count {
        let sent = from.forward(to, &message("alice", at), results.hook(at));
        assert!(sent.is_ok(), "message {at}");
    }
}

fn all_lost(results: &Results, count: usize) {
    let results = results.wait(count);
    assert!(results.values().all(|result| *result == Forwarded::Lost));
}

#[test]
fn when_a_server_dies_all_that_was_under_way_is_lost_once() {
    let (scene, kept) = (Scene::default(), Arc::default());
    let (from, to) = (scene.asking(), scene.server(keeping(&kept)));
    let results = Arc::new(Results::default());
    send_some(&from, to.run, &results, 100);
    wait_until("they came", || kept.lock().unwrap().len() == 100);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // The answer to the first is late, so this one is under way.
            from.call(to.run, &Call::Ping, PATIENCE)
        });
        let asked = asking.join().unwrap();
        to.peers.stop(Duration::ZERO);
        asked
    });
    assert_eq!(asked, Ok(Called::Done));
    all_lost(&results, 100);
    assert_eq!(from.stats.peers.lost.get(), 100);
    // Answers that come too late reach nobody.
    kept.lock()
        .unwrap()
        .drain(..)
        .for_each(|reply| reply.answer(accepted(0)));
    all_lost(&results, 100);
    let again = from.forward(to.run, &message("alice", 1), results.hook(500));
    assert!(again.is_err(), "it is gone");
}

#[test]
fn when_a_run_has_ended_its_link_breaks_at_once_and_calls_end() {
    let (scene, kept) = (Scene::default(), Arc::default());
    let from = scene.asking();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let inside = Arc::clone(&gate);
    let on_call: OnCall = Box::new(move |_| {
        let (open, changed) = &*inside;
        drop(
            changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
        Called::Done
    });
    let to = scene.start(scene.us(None), keeping(&kept), on_call);
    let results = Arc::new(Results::default());
    send_some(&from, to.run, &results, 10);
    thread::scope(|scope| {
        let asking = scope.spawn(|| from.call(to.run, &Call::Ping, PATIENCE));
        wait_until("it asks", || from.stats.peers.calls.get() == 1);
        from.peers.ended(to.run);
        assert_eq!(asking.join().unwrap(), Err(Unreachable));
    });
    all_lost(&results, 10);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[test]
fn a_silent_server_is_given_up_and_a_slow_one_is_not() {
    let (scene, kept) = (Scene::default(), Arc::default());
    let from = scene.asking();
    let silent = double(&scene, |known| {
        thread::sleep(PATIENCE);
        drop(known);
    });
    let slow = scene.server(keeping(&kept));
    let (lost, late) = (Arc::new(Results::default()), Arc::new(Results::default()));
    send_some(&from, slow.run, &late, 3);
    send_some(&from, silent, &lost, 3);
    all_lost(&lost, 3);
    // It has waited for longer than the silent one.
    assert!(late.known.lock().unwrap().is_empty());
    kept.lock()
        .unwrap()
        .drain(..)
        .for_each(|reply| reply.answer(accepted(4)));
    assert!(late.wait(3).values().all(|result| *result == accepted(4)));
}

#[test]
fn a_message_whose_reply_is_dropped_is_lost() {
    let scene = Scene::default();
    let (from, to) = (
        scene.asking(),
        scene.server(Box::new(|_, reply| drop(reply))),
    );
    let results = Arc::new(Results::default());
    forward(&from, &to, &message("alice", 1), results.hook(1));
    all_lost(&results, 1);
}

#[test]
fn a_host_that_panics_ends_the_link() {
    let scene = Scene::default();
    let to = scene.server(Box::new(|_, _| panic!("on purpose")));
    let from = scene.asking();
    let results = Arc::new(Results::default());
    forward(&from, &to, &message("alice", 1), results.hook(1));
    all_lost(&results, 1);
}

#[test]
fn a_link_that_is_full_takes_nothing_more_and_loses_nothing() {
    let scene = Scene::default();
    let from = scene.asking();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let inside = Arc::clone(&gate);
    let to = scene.server(Box::new(move |forward, reply| {
        let (open, changed) = &*inside;
        drop(
            changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
        reply.answer(accepted(forward.at));
    }));
    let results = Arc::new(Results::default());
    let mut sent = 0;
    loop {
        let next = from.forward(to.run, &message("alice", sent), results.hook(sent));
        match next {
            Ok(()) => sent += 1,
            Err(_not_called) => break,
        }
    }
    assert!(sent >= 100, "only {sent} fit");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let results = results.wait(sent as usize);
    assert!(results.iter().all(|(at, result)| *result == accepted(*at)));
}

#[test]
fn without_a_lease_nothing_leaves_and_with_it_all_goes_on() {
    let (scene, seen) = (Scene::default(), Arc::default());
    let (from, to) = (scene.asking(), scene.server(answering_late(&seen)));
    let results = Arc::new(Results::default());
    let asked = from.call(to.run, &Call::Ping, PATIENCE);
    assert_eq!(asked, Ok(Called::Done), "there is a link");
    from.lease.store(0, Ordering::Release);
    send_some(&from, to.run, &results, 5);
    // Longer than a silent server has.
    thread::sleep(Duration::from_millis(900));
    assert!(seen.lock().unwrap().is_empty() && results.known.lock().unwrap().is_empty());
    from.lease.store(u64::MAX, Ordering::Release);
    assert!(
        results
            .wait(5)
            .iter()
            .all(|(at, result)| *result == accepted(*at))
    );
    to.lease.store(0, Ordering::Release);
    let results = Arc::new(Results::default());
    send_some(&from, to.run, &results, 5);
    // The other one may not say anything, and is given up.
    all_lost(&results, 5);
    let none = from.forward(to.run, &message("alice", 9), results.hook(9));
    assert!(none.is_err(), "without a lease it proves nothing");
}

#[test]
fn nonsense_in_an_answer_ends_the_link() {
    let mut too_long = vec![0xff, 0xff, 0xff, 0xff];
    too_long.push(0);
    let mut unknown = Vec::new();
    wire::write_answer(&mut unknown, 99, &Forwarded::NotHere);
    let mut a_question = Vec::new();
    wire::write_call(&mut a_question, 1, &Call::Ping);
    for nonsense in [too_long, unknown, a_question, vec![0, 0, 0, 0]] {
        let scene = Scene::default();
        let from = scene.asking();
        let run = double(&scene, move |(channel, _raw)| {
            channel.write_all(&nonsense, PATIENCE).unwrap();
            thread::sleep(PATIENCE);
        });
        let results = Arc::new(Results::default());
        // It may have ended before.
        let sent = from.forward(run, &message("alice", 1), results.hook(1));
        if sent.is_ok() {
            all_lost(&results, 1);
        }
        wait_until("the link has ended", || from.stats.peers.broken.get() == 1);
    }
}

#[test]
fn nonsense_in_a_question_ends_the_connection() {
    let scene = Scene::default();
    let to = scene.asking();
    let at = scene.directory.lock().unwrap()[0].address.unwrap();
    let mut an_answer = Vec::new();
    wire::write_answer(&mut an_answer, 1, &Forwarded::NotHere);
    let too_long = (wire::MAX_REQUEST as u32 + 1).to_be_bytes().to_vec();
    for nonsense in [an_answer, too_long, vec![0, 0, 0, 1, 2], vec![0, 0, 0, 0]] {
        let (us, _lease) = scene.us(None);
        let (channel, mut raw) = handshake::connect(&us, None, to.run, at).unwrap();
        channel.write_all(&nonsense, PATIENCE).unwrap();
        channel.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        let read = channel.read(&mut raw, &mut [0; 10]);
        assert_eq!(read.unwrap(), crate::transport::buffer::ReadOutcome::End);
    }
    assert_eq!(to.stats.peers.received.get(), 0);
}

#[test]
fn a_server_that_is_not_reached_is_left_alone_for_a_moment() {
    let scene = Scene::default();
    let from = scene.asking();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = gone.local_addr().unwrap();
    drop(gone);
    scene.directory.lock().unwrap().push(Node {
        run: RunId(77),
        name: "gone".to_owned(),
        address: Some(at),
    });
    let ask = |run| from.call(RunId(run), &Call::Ping, PATIENCE);
    assert_eq!(ask(77), Err(Unreachable));
    let back = TcpListener::bind(at).unwrap();
    back.set_nonblocking(true).unwrap();
    assert_eq!(ask(77), Err(Unreachable));
    assert!(back.accept().is_err(), "it was not tried again at once");
    assert_eq!(ask(78), Err(Unreachable), "there is no such run");
}

#[test]
fn what_waits_is_written_together() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let channel = crate::transport::channel::Channel::new(Socket::new(accepted).unwrap());
    let connection = Arc::new(PeerConnection::new(channel, false, Lease::for_ever()));
    let mut all = Vec::new();
    for at in 0..50 {
        wire::write_forward(&mut all, at, &message("alice", at));
        let write = |queue: &mut Vec<u8>| wire::write_forward(queue, at, &message("alice", at));
        connection.request(PATIENCE, write).unwrap();
    }
    let writing = Arc::clone(&connection);
    let writer = thread::spawn(move || writing.write_out());
    let mut together = vec![0; all.len() + 1];
    let count = std::io::Read::read(&mut stream, &mut together).unwrap();
    assert_eq!(count, all.len(), "one write, so one read");
    assert!(together[..count] == all);
    assert_eq!(connection.in_flight(), 50);
    connection.close();
    writer.join().unwrap();
    let read = connection.read(&mut Default::default(), &mut FrameBuffer::new(1));
    assert_eq!(read.unwrap(), Received::End);
}
