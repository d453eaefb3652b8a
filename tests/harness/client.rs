//! A client that speaks JSON lines, with requests in flight and events kept
//! until somebody asks for them.

use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;

use data_encoding::BASE64;
use secure_chat::crypto::account::login_proof::{LoginVerifier, ProofContext, Purpose};
use secure_chat::crypto::account::password::{Argon2Params, LoginKey, derive};
use serde_json::{Value, json};

use super::Wire;

/// What a connection's proofs sign: the server's nonce, and the certificate that
/// it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32], pub Vec<u8>);

/// A login key with the derivation that leads to it. Deriving costs real time
/// even at the least cost allowed, so there are two, shared by all accounts.
pub struct Password {
    key: LoginKey,
    credentials: LoginVerifier,
}

impl Password {
    fn derive(password: &str, salt: [u8; 16]) -> Self {
        let cost = Argon2Params::FLOOR;
        let key = derive(password, &salt, cost).unwrap().login_key;
        let credentials = LoginVerifier {
            login_key: key.public(),
            salt,
            cost,
        };
        Password { key, credentials }
    }

    /// `kdf` as it stands on the wire.
    pub fn kdf(&self) -> Value {
        let LoginVerifier { salt, cost, .. } = self.credentials;
        json!({"salt": BASE64.encode(&salt), "memory_kib": cost.memory_kib,
               "passes": cost.passes, "lanes": cost.lanes})
    }

    /// The login key's public half, as on the wire.
    pub fn login_key(&self) -> String {
        BASE64.encode(&self.credentials.login_key)
    }

    fn prove(&self, purpose: &Purpose, name: &str, nonce: &Nonce) -> String {
        let challenge = ProofContext {
            name,
            nonce: &nonce.0,
            certificate: &nonce.1,
        };
        BASE64.encode(&self.key.prove(purpose, &challenge))
    }

    /// The proof that makes an account.
    pub fn prove_register(&self, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Register(self.credentials), name, nonce)
    }

    /// The proof that logs in.
    pub fn prove_login(&self, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Login, name, nonce)
    }

    /// The proof that makes `new` the password.
    pub fn prove_passwd(&self, new: &Password, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Passwd(new.credentials), name, nonce)
    }

    /// The proof that deletes the account.
    pub fn prove_delete(&self, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Delete, name, nonce)
    }
}

/// The password of every test account, and another one to change to.
pub fn credentials() -> &'static [Password; 2] {
    static BOTH: OnceLock<[Password; 2]> = OnceLock::new();
    BOTH.get_or_init(|| {
        [
            Password::derive("correct horse", [1; 16]),
            Password::derive("battery staple", [2; 16]),
        ]
    })
}

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

/// A JSON client. It panics on whatever a test did not ask for.
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

    /// The connection below, for what no client would do.
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

    /// Asserts that the server had nothing to tell until now. What it pushed
    /// before it read the ping would have come before the answer.
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
        let shown = self.wire.certificate();
        Nonce(nonce, shown.map_or(Vec::new(), |shown| shown.0.to_vec()))
    }

    /// Makes an account and logs in.
    pub fn register(&mut self, name: &str) -> Value {
        let fields = self.registration(name);
        self.ok("register", fields)
    }

    /// The fields of a valid `register`.
    pub fn registration(&mut self, name: &str) -> Value {
        let password = &credentials()[0];
        let nonce = self.nonce();
        json!({"name": name, "kdf": password.kdf(), "login_key": password.login_key(),
               "proof": password.prove_register(&name.to_ascii_lowercase(), &nonce)})
    }

    /// Logs in.
    pub fn login(&mut self, name: &str) -> Result<Value, String> {
        self.login_with(name, json!({}))
    }

    /// Logs in with wishes for the session.
    pub fn login_with(&mut self, name: &str, wishes: Value) -> Result<Value, String> {
        let nonce = self.nonce();
        let mut fields = wishes;
        fields["name"] = json!(name);
        fields["proof"] = json!(credentials()[0].prove_login(&name.to_ascii_lowercase(), &nonce));
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
