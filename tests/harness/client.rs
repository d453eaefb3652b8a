//! A client that speaks JSON lines, with requests in flight and events kept
//! until somebody asks for them.

use std::collections::{HashMap, VecDeque};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Wire;
use super::account::{Nonce, credentials};

/// A message id, as it stands on the wire.
pub fn mid(number: u64) -> String {
    format!("{number:032x}")
}

/// The fields of a `send` with an unencrypted text.
pub fn plain(to: &str, number: u64, text: &str) -> Value {
    json!({"to": to, "mid": mid(number), "text": text})
}

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub from: String,
    /// Its id.
    pub mid: String,
    /// The text, or the envelope as base64.
    pub body: String,
}

/// A JSON client. It panics on anything that a test did not ask for.
pub struct Client {
    wire: Wire,
    last: u64,
    answers: HashMap<u64, Value>,
    events: VecDeque<Value>,
}

impl Client {
    /// A client on a connection that has said nothing yet.
    pub fn new(wire: Wire) -> Self {
        Client {
            wire,
            last: 0,
            answers: HashMap::new(),
            events: VecDeque::new(),
        }
    }

    /// The connection, for bytes that no client would send.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Sends a request and returns its id.
    pub fn post(&mut self, op: &str, fields: &Value) -> u64 {
        self.last += 1;
        let mut line = json!({"id": self.last, "op": op});
        let object = fields.as_object().expect("fields are an object");
        line.as_object_mut().unwrap().extend(object.clone());
        self.wire.write(format!("{line}\n").as_bytes());
        self.last
    }

    /// Waits for the answer to a request: what is under `ok`, or the error's code.
    pub fn answer(&mut self, id: u64) -> Result<Value, String> {
        loop {
            if let Some(mut answer) = self.answers.remove(&id) {
                return match answer["error"]["code"].as_str() {
                    Some(code) => Err(code.to_owned()),
                    None => Ok(answer["ok"].take()),
                };
            }
            assert!(self.read(), "the connection ended before the answer");
        }
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, op: &str, fields: Value) -> Result<Value, String> {
        let id = self.post(op, &fields);
        self.answer(id)
    }

    /// Sends a request that has to succeed.
    pub fn ok(&mut self, op: &str, fields: Value) -> Value {
        self.ask(op, fields)
            .unwrap_or_else(|code| panic!("{op} was refused: {code}"))
    }

    /// The next event; `None` when the connection ended.
    pub fn next_event(&mut self) -> Option<Value> {
        while self.events.is_empty() {
            if !self.read() {
                return None;
            }
        }
        self.events.pop_front()
    }

    /// The next event, which has to come.
    pub fn event(&mut self) -> Value {
        self.next_event().expect("an event")
    }

    /// The next event, which has to be a message.
    pub fn message(&mut self) -> Message {
        let event = self.event();
        assert_eq!(event["event"], "message", "{event}");
        let text = |field: &str| event[field].as_str().map(str::to_owned);
        Message {
            from: text("from").unwrap(),
            mid: text("mid").unwrap(),
            body: text("text").or_else(|| text("envelope")).unwrap(),
        }
    }

    /// Asserts that the server has pushed nothing. An event that it pushed before it read the ping
    /// would come before the answer.
    pub fn no_event(&mut self) {
        self.ok("ping", json!({}));
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    /// Reads one line; `false` when the connection ended.
    fn read(&mut self) -> bool {
        let Some(line) = self.wire.line() else {
            return false;
        };
        let line: Value = serde_json::from_str(&line).expect("the server sends JSON");
        match line["id"].as_u64() {
            Some(id) => {
                self.answers.insert(id, line);
            }
            None => self.events.push_back(line),
        }
        true
    }

    /// Says hello and takes the nonce.
    pub fn nonce(&mut self) -> Nonce {
        let greeting = self.ok("hello", json!({"version": 1}));
        let nonce = greeting["nonce"].as_str().unwrap();
        let nonce = BASE64.decode(nonce.as_bytes()).unwrap().try_into().unwrap();
        Nonce(nonce, self.wire.certificate())
    }

    /// Makes an account and logs in.
    pub fn register(&mut self, name: &str) -> Value {
        let fields = self.registration(name);
        self.ok("register", fields)
    }

    /// The fields of a valid `register`.
    pub fn registration(&mut self, name: &str) -> Value {
        credentials()[0].registration(name, &self.nonce())
    }

    /// Logs in.
    pub fn login(&mut self, name: &str) -> Result<Value, String> {
        self.login_with(name, json!({}))
    }

    /// Logs in with options for the session.
    pub fn login_with(&mut self, name: &str, options: Value) -> Result<Value, String> {
        let mut fields = credentials()[0].login(name, &self.nonce());
        let options = options.as_object().expect("options are an object");
        fields.as_object_mut().unwrap().extend(options.clone());
        self.ask("login", fields)
    }

    /// Sends a text and waits for the answer.
    pub fn send(&mut self, to: &str, number: u64, text: &str) -> Result<Value, String> {
        self.ask("send", plain(to, number, text))
    }

    /// Sends many texts, some of them in flight at a time; all have to be accepted.
    pub fn send_all(&mut self, to: &str, texts: impl IntoIterator<Item = (u64, String)>) {
        const IN_FLIGHT: usize = 256;
        let mut posted = VecDeque::new();
        for (number, text) in texts {
            if posted.len() == IN_FLIGHT {
                let id = posted.pop_front().unwrap();
                self.answer(id).expect("accepted");
            }
            posted.push_back(self.post("send", &plain(to, number, &text)));
        }
        for id in posted {
            self.answer(id).expect("accepted");
        }
    }

    /// Acknowledges messages of one sender: how many were pending, how many not.
    pub fn ack(&mut self, from: &str, mids: &[String]) -> (u64, u64) {
        let answer = self.ok("ack", json!({"from": from, "ids": mids}));
        let count = |field: &str| answer[field].as_u64().unwrap();
        (count("acked"), count("unknown"))
    }
}
