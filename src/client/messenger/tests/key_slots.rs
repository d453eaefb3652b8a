//! What opens the vault: never what a server says, never a slip of the person's.

use super::double::Double;
use super::*;
use crate::client::login::credentials::{derive, new_kdf};
use crate::client::vault::{SlotKdf, VaultFile};
use crate::client::view::Tone;
use crate::protocol::request::KdfParams;

const SLIP: &str = "correct hosre";

/// The cheapest derivation that a client takes from a server.
fn cheapest(salt: u8) -> KdfParams {
    KdfParams {
        salt: ByteArray([salt; 16]),
        memory_kib: 19456,
        passes: 2,
        lanes: 1,
    }
}

impl Somebody {
    /// Registers; returns the recovery code.
    pub(super) fn register_with_code(server: &Double, name: &str) -> (Self, String) {
        let mut somebody = Self::new(server, name);
        let asked = &mut answers(PASSWORD);
        let account = somebody.login_flow().register(somebody.name, asked);
        let code = code_in(&asked.said).unwrap();
        somebody.start(account.unwrap());
        (somebody, code)
    }

    fn slots(&self) -> Vec<SlotKdf> {
        let file = VaultFile::take(self.home.path(), &self.server, &self.name).unwrap();
        file.read().unwrap().passwords().collect()
    }

    pub(super) fn opens(&self, secret: &str) -> bool {
        let file = VaultFile::take(self.home.path(), &self.server, &self.name).unwrap();
        let opened = crate::client::login::open(file.read().unwrap(), secret).unwrap();
        opened.ok().is_some()
    }

    /// Tries to log in, and leaves again at once.
    pub(super) fn tries(&self, asked: &mut dyn Prompt) -> std::result::Result<(), LoginError> {
        self.login_flow().log_in(self.name, asked).map(drop)
    }
}

/// The recovery code that was shown, if one was.
pub(super) fn code_in(said: &[ViewEvent]) -> Option<String> {
    said.iter().find_map(|event| match event {
        ViewEvent::Line(Tone::Plain, line) if line.starts_with("    ") => {
            Some(line.trim().to_owned())
        }
        _ => None,
    })
}

/// From now on the server takes this password only, derived like this.
fn server_takes(server: &Double, somebody: &Somebody, password: &str, kdf: KdfParams) {
    let login_key = derive(password, kdf).unwrap().login_key.public();
    let mut world = server.world.lock().unwrap();
    let account = world.accounts.get_mut(&somebody.name).unwrap();
    account.set_login(kdf, login_key);
}

#[test]
fn a_slip_and_a_server_that_takes_it_change_nothing() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    alice.log_out();
    let before = alice.slots();
    server_takes(&server, &alice, SLIP, cheapest(0));
    // Whatever the person types behind the slip: nothing, the slip again, the right
    // password. With the right one the server says that it is wrong.
    for secret in [None, Some(SLIP), Some(PASSWORD)] {
        let asked = &mut Answers {
            secret: secret.map(str::to_owned),
            ..answers(SLIP)
        };
        assert!(alice.tries(asked).is_err());
        assert!(alice.opens(PASSWORD) && !alice.opens(SLIP));
        assert_eq!(alice.slots(), before, "{secret:?}");
    }
    // Not even a slip that is typed as the new password, since that is typed twice.
    let asked = &mut Typing::new(&[PASSWORD, SLIP, "correct hores"]);
    let refused = alice.login_flow().log_in(alice.name, asked).map(drop);
    assert!(
        matches!(&refused, Err(LoginError::Refused(why)) if why.contains("not the same")),
        "{refused:?}"
    );
    assert!(alice.opens(PASSWORD) && !alice.opens(SLIP));
}

#[test]
fn the_server_hears_nothing_of_a_password_that_opens_no_vault() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    alice.log_out();
    server.world.lock().unwrap().asked.clear();
    let refused = alice.tries(&mut answers(SLIP));
    assert!(
        matches!(refused, Err(LoginError::WrongPassword)),
        "{refused:?}"
    );
    let asked = server.world.lock().unwrap().asked.clone();
    assert_eq!(asked, ["hello"]);
}

#[test]
fn a_slip_is_typed_again_and_no_more() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    alice.log_out();
    let before = alice.slots();
    let asked = &mut Typing::new(&[SLIP, PASSWORD]);
    let account = alice.login_flow().log_in(alice.name, asked).unwrap();
    alice.start(account);
    alice.log_out();
    assert_eq!(alice.slots(), before);
}

#[test]
fn a_claim_that_the_password_was_changed_is_only_a_question() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    alice.log_out();
    server_takes(&server, &alice, "mallory's own", cheapest(0));
    let asked = &mut answers(PASSWORD);
    let refused = alice.tries(asked);
    assert!(
        matches!(&refused, Err(LoginError::Refused(why)) if why.contains("nothing was changed")),
        "{refused:?}"
    );
    // A password that only the person knows logs in nowhere, and so opens nothing.
    let asked = &mut Answers {
        new_password: Some("another horse"),
        ..answers(PASSWORD)
    };
    assert!(alice.tries(asked).is_err());
    assert!(alice.opens(PASSWORD) && !alice.opens("another horse"));
}

#[test]
fn a_lowered_cost_reaches_neither_slot_nor_login() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    let dear = KdfParams {
        memory_kib: 2 * 19456,
        ..cheapest(1)
    };
    alice.log_out();
    // An honest reset at a higher cost: the slot keeps its own.
    server_takes(&server, &alice, "reset horse", dear);
    let asked = &mut Answers {
        new_password: Some("reset horse"),
        ..answers(PASSWORD)
    };
    alice.tries(asked).unwrap();
    server.cut();
    let slots = alice.slots();
    assert_eq!(slots.len(), 1);
    let own = slots[0].as_account();
    assert_ne!(own.salt, dear.salt);
    assert_eq!(own.memory_kib, 19456, "the default of unit tests");
    // A claimed reset at a lower one gets no proof to guess with.
    server_takes(&server, &alice, "third horse", cheapest(2));
    server.world.lock().unwrap().asked.clear();
    let asked = &mut Answers {
        new_password: Some("third horse"),
        ..answers("reset horse")
    };
    let refused = alice.tries(asked);
    assert!(
        matches!(&refused, Err(LoginError::Derive(why)) if why.to_string().contains("less than")),
        "{refused:?}"
    );
    let asked = server.world.lock().unwrap().asked.clone();
    assert_eq!(asked.iter().filter(|op| **op == "login").count(), 1);
    assert_eq!(alice.slots(), slots);
}

#[test]
fn on_a_new_machine_the_slot_has_a_salt_of_its_own() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    alice.log_out();
    server_takes(&server, &alice, PASSWORD, cheapest(3));
    alice.home = TempDir::new().unwrap();
    let yes = &mut Answers {
        yes: true,
        ..answers(PASSWORD)
    };
    let account = alice.login_flow().log_in(alice.name, yes).unwrap();
    alice.start(account);
    alice.log_out();
    assert_ne!(alice.slots()[0].as_account().salt, ByteArray([3; 16]));
    // And it logs in with the server's.
    alice.log_in();
}

#[test]
fn after_a_reset_the_password_before_or_the_code_opens_the_vault() {
    let server = Double::start();
    let (mut alice, code) = Somebody::register_with_code(&server, "alice");
    alice.log_out();
    for (password, opener) in [
        ("reset once", code.as_str()),
        ("reset twice", "reset once"),
        ("reset thrice", &code),
    ] {
        server_takes(&server, &alice, password, new_kdf());
        let refused = alice.tries(&mut Typing::new(&[password]));
        assert!(
            matches!(refused, Err(LoginError::WrongPassword)),
            "{refused:?}"
        );
        server.cut();
        // The new password first, as it comes to mind; then what opens the vault.
        let typed = [password, "a slip", opener, password, password];
        let asked = &mut Typing::new(&typed);
        drop(alice.login_flow().log_in(alice.name, asked).unwrap());
        server.cut();
        // From now on the new password is enough.
        alice.tries(&mut answers(password)).unwrap();
        server.cut();
        assert_eq!(alice.slots().len(), 1);
    }
}

/// On a machine without the vault, the server learns nothing of a recovery code either.
#[test]
fn a_code_without_its_vault_is_recognised() {
    let server = Double::start();
    let (alice, code) = Somebody::register_with_code(&server, "alice");
    let elsewhere = Somebody::new(&server, "alice");
    server.world.lock().unwrap().asked.clear();
    let said = elsewhere.tries(&mut Typing::new(&[&code])).unwrap_err();
    assert!(
        said.to_string().contains("that is a recovery code"),
        "{said}"
    );
    let asked = server.world.lock().unwrap().asked.clone();
    assert!(
        !asked.contains(&"kdf") && !asked.contains(&"login"),
        "{asked:?}"
    );
    for (command, kept) in [
        (
            super::passwd::passwd(&code, "another password"),
            "nothing was changed",
        ),
        (
            Command::NewRecoveryCode {
                password: code.clone().into(),
                file: None,
            },
            "the recovery code stays as it was",
        ),
    ] {
        let said = alice.run(command).unwrap_err();
        assert!(said.contains("that is a recovery code"), "{said}");
        assert!(said.contains(kept), "{said}");
    }
}

#[test]
fn the_code_alone_does_not_log_in_and_says_so() {
    let server = Double::start();
    let (mut alice, code) = Somebody::register_with_code(&server, "alice");
    alice.log_out();
    server.world.lock().unwrap().asked.clear();
    let refused = alice.tries(&mut Typing::new(&[&code.to_lowercase()]));
    assert!(
        matches!(&refused, Err(LoginError::Refused(why)) if why.contains("does not log in")),
        "{refused:?}"
    );
    assert_eq!(server.world.lock().unwrap().asked, ["hello"]);
    let asked = &mut Typing::new(&[&code]);
    assert!(alice.login_flow().export(alice.name, asked).is_ok());
}

#[test]
fn a_change_that_was_killed_leaves_what_a_login_proves() {
    let server = Double::start();
    for server_has in [PASSWORD, "another horse"] {
        let name = if server_has == PASSWORD {
            "alice"
        } else {
            "bob"
        };
        let mut somebody = Somebody::registered(&server, name);
        somebody.log_out();
        // As far as a client gets that is killed while the server decides.
        let kdf = new_kdf();
        let file = VaultFile::take(somebody.home.path(), &somebody.server, &somebody.name).unwrap();
        let opened = crate::client::login::open(file.read().unwrap(), PASSWORD).unwrap();
        let mut vault = opened.ok().unwrap().vault;
        let key = crate::client::vault::PasswordKey::derive(
            "another horse",
            vault.password_cost().unwrap(),
        );
        vault.add_password(&key.unwrap(), kdf).unwrap();
        drop(vault);
        if server_has != PASSWORD {
            server_takes(&server, &somebody, server_has, kdf);
        }
        // A slip opens nothing in between, and the other password settles nothing.
        assert!(somebody.tries(&mut answers(SLIP)).is_err());
        let other = if server_has == PASSWORD {
            "another horse"
        } else {
            PASSWORD
        };
        assert!(somebody.tries(&mut answers(other)).is_err());
        assert!(somebody.opens(PASSWORD) && somebody.opens("another horse"));
        somebody.tries(&mut answers(server_has)).unwrap();
        server.cut();
        assert!(somebody.opens(server_has) && !somebody.opens(other));
    }
}

/// Somebody who types one thing after the other, whatever is asked.
struct Typing(std::collections::VecDeque<String>);

impl Typing {
    fn new(typed: &[&str]) -> Self {
        Typing(typed.iter().map(|&text| text.to_owned()).collect())
    }

    fn next(&mut self) -> Option<Zeroizing<String>> {
        self.0.pop_front().map(Zeroizing::new)
    }
}

impl Prompt for Typing {
    fn password(&mut self, _: &str) -> Option<Zeroizing<String>> {
        self.next()
    }

    fn new_password(&mut self, _: &str) -> Option<Zeroizing<String>> {
        self.next()
    }

    fn secret(&mut self, _: &str) -> Option<Zeroizing<String>> {
        self.next()
    }

    fn yes(&mut self, _: &str) -> bool {
        false
    }

    fn say(&mut self, _: ViewEvent) {}
}

/// Made by an earlier client, whose slot had the salt and the cost that the account has.
const VERSION_1: &[u8] = include_bytes!("../../../../tests/vault/version-1.vault");

#[test]
fn an_earlier_vault_gets_a_slot_of_its_own_once_its_password_has_logged_in() {
    const PASSWORD: &str = "correct horse battery";
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    alice.log_out();
    let folder = alice.home.path().join(alice.server.replace(':', "_"));
    std::fs::write(folder.join("alice.vault"), VERSION_1).unwrap();
    let before = alice.slots()[0];
    let yes = |password| Answers {
        yes: true,
        ..answers(password)
    };
    // Not before: a server that refuses it has proven nothing.
    assert!(alice.tries(&mut yes(PASSWORD)).is_err());
    assert_eq!(alice.slots(), [before]);
    server_takes(&server, &alice, PASSWORD, before.as_account());
    let account = alice.login_flow().log_in(alice.name, &mut yes(PASSWORD));
    alice.start(account.unwrap());
    alice.log_out();
    let after = alice.slots();
    assert_eq!(after.len(), 1);
    let (before, after) = (before.as_account(), after[0].as_account());
    assert_ne!(after.salt, before.salt);
    assert_eq!(
        KdfParams {
            salt: before.salt,
            ..after
        },
        before,
        "at no lower cost"
    );
    assert!(alice.opens(PASSWORD) && !alice.opens(SLIP));
    // It still logs in as the server says.
    alice.tries(&mut yes(PASSWORD)).unwrap();
}
