//! Who may connect: servers with the store's secret and the same certificate, and nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::crypto::peer_proof::{PeerHandshake, Step};
use crate::server::peers::wire;

fn address(scene: &Scene, of: &Server) -> SocketAddr {
    let directory = scene.directory.lock().unwrap();
    let node = directory.iter().find(|node| node.run == of.run).unwrap();
    node.address.unwrap()
}

/// Says something to a server and returns all that it answers before it closes.
fn say(at: SocketAddr, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have closed the connection in the middle.
    let _written = stream.write_all(words);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    answer
}

fn hello(run: i64, to: RunId, secret: &[u8; 32]) -> (PeerHandshake, Vec<u8>) {
    let handshake = PeerHandshake {
        version: wire::VERSION,
        connecting: run,
        accepting: to.0,
        connecting_nonce: [1; 32],
        accepting_nonce: [0; 32],
        fingerprint: None,
    };
    let proof = handshake.prove(secret, Step::Hello);
    let hello = [
        &[handshake.version][..],
        &handshake.connecting_nonce,
        &run.to_be_bytes(),
        &to.0.to_be_bytes(),
        &proof,
    ];
    (handshake, hello.concat())
}

#[test]
fn a_stranger_is_told_nothing() {
    let scene = Scene::default();
    let to = scene.asking();
    let at = address(&scene, &to);
    let (_, wrong_secret) = hello(50, to.run, &[1; 32]);
    let (_, wrong_run) = hello(50, RunId(99), &SECRET);
    let (_, mut wrong_version) = hello(50, to.run, &SECRET);
    wrong_version[0] += 1;
    let (_, mut changed) = hello(50, to.run, &SECRET);
    changed[33] ^= 1;
    let words: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n                                                ",
        &[0; 200],
        &[0x16; 81],
        &wrong_secret,
        &wrong_run,
        &wrong_version,
        &changed,
    ];
    for words in words {
        assert!(say(at, words).is_empty(), "{words:?}");
    }
    wait_until("they are counted", || to.stats.peers.strangers.get() == 7);
}

#[test]
fn a_recording_is_worth_nothing() {
    let scene = Scene::default();
    let to = scene.asking();
    let at = address(&scene, &to);
    let (mut handshake, hello) = hello(50, to.run, &SECRET);
    // What a server has said once, with the nonce that it was answered then.
    handshake.accepting_nonce = [2; 32];
    let confirm = handshake.prove(&SECRET, Step::Confirm);
    let mut event = Vec::new();
    let told = Told {
        name: name("bob"),
        event: Event::Replaced {},
    };
    wire::write_event(&mut event, &told);
    let answer = say(at, &[hello, confirm.to_vec(), event].concat());
    assert_eq!(answer.len(), 64, "a nonce and a proof that is for it alone");
    assert!(to.events.lock().unwrap().try_recv().is_err());
    let mut nonces = std::collections::HashSet::new();
    nonces.insert(answer[..32].to_vec());
    let (_, hello) = self::hello(50, to.run, &SECRET);
    let answer = say(at, &[hello, confirm.to_vec()].concat());
    assert!(nonces.insert(answer[..32].to_vec()), "each nonce is new");
}

#[test]
fn strangers_have_few_places_and_little_time() {
    let scene = Scene::default();
    let to = scene.asking();
    let at = address(&scene, &to);
    let silent: Vec<_> = (0..4).map(|_| TcpStream::connect(at).unwrap()).collect();
    wait_until("one more is closed at once", || {
        let begun = Instant::now();
        say(at, b"").is_empty() && begun.elapsed() < Duration::from_millis(500)
    });
    // Their time is over.
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    }
    let from = scene.asking();
    wait_until("a server has a place again", || {
        from.call(to.run, &Call::Ping, PATIENCE) == Ok(Called::Done)
    });
}

#[test]
fn another_secret_or_another_certificate_makes_no_link() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (acceptor(one.path()), acceptor(other.path()));
    let scene = Scene::default();
    let start = |tls: Option<&Arc<Acceptor>>, secret| {
        let (mut us, lease) = scene.us(tls.cloned());
        us.secret = secret;
        let nobody = Box::new(|_, _| panic!("nobody asks it"));
        scene.start((us, lease), nobody, Box::new(|_| Called::Done))
    };
    let to = start(Some(&one), SECRET);
    let ask = |from: &Server| from.call(to.run, &Call::Ping, PATIENCE);
    assert_eq!(ask(&start(Some(&one), [1; 32])), Err(Unreachable));
    assert_eq!(ask(&start(Some(&other), SECRET)), Err(Unreachable));
    assert_eq!(ask(&start(None, SECRET)), Err(Unreachable));
    assert_eq!(ask(&start(Some(&one), SECRET)), Ok(Called::Done));
}
