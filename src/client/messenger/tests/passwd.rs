//! A change of password, whole and cut off.

use super::double::Cut;
use super::*;

#[test]
fn a_new_password_opens_vault_and_account() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    let new = || Zeroizing::new("another horse".to_owned());
    let wrong = alice.run(Command::Passwd(Zeroizing::new("guess".to_owned()), new()));
    assert!(wrong.unwrap_err().contains("old password is wrong"));
    let old = Zeroizing::new(PASSWORD.to_owned());
    alice.run(Command::Passwd(old, new())).unwrap();
    alice.log_out();
    assert!(
        alice
            .login_flow()
            .log_in(alice.name, &mut answers(PASSWORD))
            .is_err()
    );
    let account = alice
        .login_flow()
        .log_in(alice.name, &mut answers("another horse"));
    alice.start(account.unwrap());
}

/// The connection breaks in the middle of a change; which password counts then?
fn interrupted(cut: Cut, counts: &'static str, other: &'static str) {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    server.world.lock().unwrap().cut_passwd = Some(cut);
    let secret = |text: &str| Zeroizing::new(text.to_owned());
    let unknown = alice.run(Command::Passwd(secret(PASSWORD), secret("another horse")));
    let why = unknown.unwrap_err();
    assert!(why.contains("not known yet"), "{why}");
    alice.sees_line("connected again");
    alice.log_out();
    let refused = alice.login_flow().log_in(alice.name, &mut answers(other));
    assert!(refused.is_err(), "{other} opens nothing any more");
    let account = alice.login_flow().log_in(alice.name, &mut answers(counts));
    alice.start(account.unwrap());
}

#[test]
fn a_change_that_never_reached_the_server_leaves_the_old_password() {
    interrupted(Cut::Before, PASSWORD, "another horse");
}

#[test]
fn a_change_whose_answer_was_lost_leaves_the_new_password() {
    interrupted(Cut::After, "another horse", PASSWORD);
}
