//! The two references. The bare relay forwards a line to the connection that its first word names,
//! with one blocking write per message, and promises nothing. The acked relay also passes the
//! recipient's answer back to the sender, the least that a server with acknowledgements on both legs
//! and a thread per connection can do.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Table = Arc<Mutex<HashMap<Vec<u8>, Arc<TcpStream>>>>;

/// Serves until it is killed. It serves as both relays, because an answer is a message, too.
pub(crate) fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    let table = Table::default();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let table = Arc::clone(&table);
        std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || serve(stream, &table))
            .unwrap();
    }
}

/// Serves one connection. Its first line is its name; all others go to the connection they name.
fn serve(stream: TcpStream, table: &Table) {
    let stream = Arc::new(stream);
    let mut lines = BufReader::with_capacity(8192, &*stream);
    let mut line = Vec::new();
    if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
        return;
    }
    line.pop();
    let own = Arc::clone(&stream);
    table.lock().unwrap().insert(line.clone(), own);
    // A client that has read this can be written to.
    (&*stream).write_all(b"\n").unwrap();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return;
        }
        let word = line.split(|byte| *byte == b' ').next().unwrap();
        let to = table.lock().unwrap().get(word).cloned();
        if let Some(to) = to {
            let _ = (&*to).write_all(&line);
        }
    }
}
