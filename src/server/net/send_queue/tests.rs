//! The send queue over real sockets: slow peers, many writers, last words.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Condvar, Mutex};

use super::state::PUSH_ROOM;
use super::*;

fn pair() -> (Arc<SendQueue>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (
        Arc::new(SendQueue::new(
            Socket::new(server).unwrap(),
            Arc::default(),
            Lease::for_ever(),
        )),
        client,
    )
}

#[test]
fn a_peer_that_does_not_read_blocks_nobody_and_loses_nothing() {
    let (send_queue, mut client) = pair();
    let drained = Arc::new((Mutex::new(false), Condvar::new()));
    let seen = Arc::clone(&drained);
    send_queue.set_on_drained(Some(Arc::new(move || {
        *seen.0.lock().unwrap() = true;
        seen.1.notify_all();
    })));
    let line = "x".repeat(99_999) + "\n";
    for _ in 0..200 {
        send_queue.text(&line);
        send_queue.flush();
    }
    assert!(!send_queue.has_room());
    let mut received = vec![0; 200 * line.len()];
    client.read_exact(&mut received).unwrap();
    assert!(
        received
            .chunks(line.len())
            .all(|chunk| chunk == line.as_bytes())
    );
    let (flag, changed) = &*drained;
    let timeout = Duration::from_secs(10);
    let result = changed.wait_timeout_while(flag.lock().unwrap(), timeout, |done| !*done);
    assert!(*result.unwrap().0, "the hook ran");
    assert!(send_queue.has_room());
}

#[test]
fn a_push_without_room_is_resumed_even_if_the_kernel_takes_all_at_once() {
    let (send_queue, mut client) = pair();
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, inner) = (Arc::clone(&calls), Arc::downgrade(&send_queue));
    send_queue.set_on_drained(Some(Arc::new(move || {
        // Like a session that is behind: pushes until there is no room again.
        let send_queue = inner.upgrade().unwrap();
        if counted.fetch_add(1, Ordering::Relaxed) < 3 {
            while send_queue.has_room() {
                send_queue.text(&"x".repeat(1000));
            }
            send_queue.flush();
        }
    })));
    let reader = std::thread::spawn(move || client.read_exact(&mut vec![0; 4 * PUSH_ROOM]));
    while send_queue.has_room() {
        send_queue.text(&"x".repeat(1000));
    }
    send_queue.flush();
    reader.join().unwrap().unwrap();
    assert!(calls.load(Ordering::Relaxed) >= 3);
}

#[test]
fn many_writers_keep_lines_whole() {
    let (send_queue, mut client) = pair();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let send_queue = Arc::clone(&send_queue);
            std::thread::spawn(move || {
                for _ in 0..500 {
                    send_queue.text(&format!("{writer}{writer}{writer}\n"));
                    send_queue.flush();
                }
            })
        })
        .collect();
    let mut received = vec![0; 4 * 500 * 4];
    client.read_exact(&mut received).unwrap();
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    assert!(
        received
            .chunks(4)
            .all(|c| c[0] == c[1] && c[1] == c[2] && c[3] == b'\n')
    );
}

#[test]
fn finishing_says_the_last_words() {
    let (send_queue, mut client) = pair();
    send_queue.text("goodbye\n");
    send_queue.finish(Duration::from_secs(10));
    send_queue.text("too late\n");
    send_queue.flush();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "goodbye\n");
}
