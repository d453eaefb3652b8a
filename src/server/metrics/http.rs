//! The small web server for Prometheus: one thread, one request at a time, and a bound on the time
//! and the bytes of each. It knows one page.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::Observer;
use crate::clock;
use crate::server::log;
use crate::sync;

/// How long a peer has to send its request, and then to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request has at most so many bytes; Prometheus sends some 300.
const MAX_REQUEST: usize = 8 * 1024;

/// The pause after an accept that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The thread's stack, in bytes.
const STACK: usize = 128 * 1024;

/// Listens on the address that Prometheus fetches from.
///
/// # Errors
/// The address is taken or not permitted.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Starts the thread `metrics`, which ends with the process.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start(listener: TcpListener, observer: Arc<Observer>) -> io::Result<()> {
    let address = listener.local_addr()?;
    log::info(
        None,
        format_args!("metrics are served at http://{address}/metrics"),
    );
    sync::spawn("metrics", Some(STACK), move || {
        loop {
            match listener.accept() {
                // A peer that breaks off has no answer.
                Ok((stream, _)) => drop(serve(&stream, &observer)),
                Err(_) => sync::sleep(PAUSE),
            }
        }
    })
    .map(|_| ())
}

fn serve(mut stream: &TcpStream, observer: &Observer) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(stream)?;
    let (status, body) = match answer(&request) {
        Answer::Metrics => ("200 OK", observer.prometheus()),
        Answer::Elsewhere => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        Answer::OtherMethod => ("405 Method Not Allowed", "only GET is known\n".to_owned()),
        Answer::Bad => ("400 Bad Request", "this is no HTTP request\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}

/// Reads as far as the empty line that ends a request's head.
fn read_request(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let deadline = clock::now() + PATIENCE;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MAX_REQUEST {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            count => request.extend_from_slice(part.get(..count).unwrap_or_default()),
        }
    }
    Ok(request)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Metrics,
    Elsewhere,
    OtherMethod,
    Bad,
}

fn answer(request: &[u8]) -> Answer {
    let line = request.split(|byte| *byte == b'\r').next();
    let words = line.and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = words.unwrap_or_default().split(' ').collect();
    match words[..] {
        ["GET", path, version] if version.starts_with("HTTP/1.") => match path.split('?').next() {
            Some("/metrics") => Answer::Metrics,
            _ => Answer::Elsewhere,
        },
        [_, _, version] if version.starts_with("HTTP/") => Answer::OtherMethod,
        _ => Answer::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_page_is_served() {
        for (request, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Answer::Metrics),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Answer::Metrics),
            ("GET / HTTP/1.1\r\n\r\n", Answer::Elsewhere),
            ("GET /metrics/../x HTTP/1.1\r\n\r\n", Answer::Elsewhere),
            ("POST /metrics HTTP/1.1\r\n\r\n", Answer::OtherMethod),
            ("{\"op\":\"hello\"}\n", Answer::Bad),
            ("", Answer::Bad),
        ] {
            assert_eq!(answer(request.as_bytes()), expected, "{request}");
        }
    }
}
