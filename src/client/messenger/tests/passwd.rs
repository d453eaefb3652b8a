//! Changes of the password and of the recovery code, whole and cut off.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::double::{Account, Cut};
use super::key_slots::code_in;
use super::*;
use crate::client::messenger::command::NextCode;
use crate::client::vault::VaultFile;
use crate::crypto::account::recovery::RecoveryCode;
use crate::protocol::request::KdfParams;

/// Makes a new recovery code, too.
pub(super) fn passwd(old: &str, new: &str) -> Command {
    Command::Passwd {
        old: Zeroizing::new(old.to_owned()),
        new: Zeroizing::new(new.to_owned()),
        code: NextCode::New(None),
    }
}

#[test]
fn a_new_password_opens_vault_and_account() {
    let server = Double::start();
    let mut alice = Somebody::registered(&server, "alice");
    let wrong = alice.run(passwd("guess", "another horse"));
    assert!(wrong.unwrap_err().contains("old password is wrong"));
    alice.run(passwd(PASSWORD, "another horse")).unwrap();
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
    let unknown = alice.run(passwd(PASSWORD, "another horse"));
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

const NEW: &str = "another horse";

/// A copy of somebody's files and of the server's account, as a kill would leave them.
struct Cutoff {
    when: &'static str,
    home: TempDir,
    login: (KdfParams, [u8; 32]),
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path() {
            path if path.is_dir() => copy_folder(&path, &to),
            // SQLite makes its index of the log anew.
            path if path.to_string_lossy().ends_with("-shm") => {}
            path => drop(std::fs::copy(path, to).unwrap()),
        }
    }
}

/// Copies somebody's files at each step of what they do with the server.
fn cut_off_everywhere(server: &Double, somebody: &Somebody) -> Arc<Mutex<Vec<Cutoff>>> {
    let copies = Arc::new(Mutex::new(Vec::new()));
    let (kept, from) = (Arc::clone(&copies), somebody.home.path().to_owned());
    let mut login = None;
    let mut world = server.world.lock().unwrap();
    world.watch = Some(Box::new(move |when, account| {
        login = account.map(Account::login).or(login);
        if let (false, Some(login)) = (when.is_empty(), login) {
            let home = TempDir::new().unwrap();
            copy_folder(&from, home.path());
            kept.lock().unwrap().push(Cutoff { when, home, login });
        }
    }));
    copies
}

#[test]
fn a_change_that_is_killed_anywhere_leaves_the_password_that_the_server_has() {
    let server = Double::start();
    let (mut alice, _) = Somebody::register_with_code(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    alice.send("bob", "hello");
    bob.reads("hello");
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    let copies = cut_off_everywhere(&server, &alice);
    alice.run(passwd(PASSWORD, NEW)).unwrap();
    server.world.lock().unwrap().watch = None;
    let steps = std::mem::take(&mut *copies.lock().unwrap());
    let when: Vec<_> = steps.iter().map(|step| step.when).collect();
    assert_eq!(when, ["passwd", "passwd done", "login", "login done"]);
    alice.log_out();
    let last = Cutoff {
        when: "afterwards",
        login: server.world.lock().unwrap().accounts[&alice.name].login(),
        home: std::mem::replace(&mut alice.home, TempDir::new().unwrap()),
    };
    for Cutoff { when, home, login } in steps.into_iter().chain([last]) {
        server.cut();
        let mut world = server.world.lock().unwrap();
        let account = world.accounts.get_mut(&alice.name).unwrap();
        account.set_login(login.0, login.1);
        drop(world);
        alice.home = home;
        let (counts, other) = match when {
            "passwd" => (PASSWORD, NEW),
            _ => (NEW, PASSWORD),
        };
        // A server that takes a third password changes nothing either.
        assert!(
            alice.tries(&mut answers("correct hosre")).is_err(),
            "{when}"
        );
        let asked = &mut answers(counts);
        let account = alice.login_flow().log_in(alice.name, asked).unwrap();
        alice.start(account);
        assert_eq!(alice.texts("bob"), [Some("hello".to_owned())], "{when}");
        alice.log_out();
        assert!(alice.opens(counts) && !alice.opens(other), "{when}");
        // What was cut off behind the server's answer is finished now, and says a new code.
        let code = code_in(&asked.said);
        assert_eq!(
            code.is_some(),
            ["passwd done", "login", "login done"].contains(&when),
            "{when}"
        );
        if let Some(code) = code {
            assert!(alice.opens(&code));
        }
    }
}

#[test]
fn a_copy_from_before_and_its_password_open_nothing_from_after() {
    let server = Double::start();
    let (mut alice, code) = Somebody::register_with_code(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    let copy = TempDir::new().unwrap();
    copy_folder(alice.home.path(), copy.path());
    alice.run(passwd(PASSWORD, NEW)).unwrap();
    alice.send("bob", "from after");
    bob.reads("from after");
    alice.log_out();
    assert!(!alice.opens(PASSWORD) && !alice.opens(&code));
    // The old key slots, put into the file of today, open a key that fits nothing.
    let path = |home: &Path| {
        home.join(alice.server.replace(':', "_"))
            .join("alice.vault")
    };
    let db = rusqlite::Connection::open(path(alice.home.path())).unwrap();
    db.execute("ATTACH ? AS before", [path(copy.path()).to_str()])
        .unwrap();
    db.execute_batch(
        "DELETE FROM main.key_slots; INSERT INTO main.key_slots SELECT * FROM before.key_slots",
    )
    .unwrap();
    drop(db);
    let file = VaultFile::take(alice.home.path(), &alice.server, &alice.name).unwrap();
    let opened = crate::client::login::open(file.read().unwrap(), PASSWORD);
    let damaged = |unlocked: crate::client::login::Unlocked| {
        unlocked.vault.whole_history().is_err() && unlocked.vault.contacts().is_empty()
    };
    match opened {
        Err(_) => {}
        Ok(opened) => assert!(opened.ok().is_none_or(damaged)),
    }
}

#[test]
fn the_recovery_code_is_kept_if_it_is_typed() {
    let server = Double::start();
    let (mut alice, code) = Somebody::register_with_code(&server, "alice");
    let keep = |code: &str| {
        let code = RecoveryCode::parse(code).unwrap();
        match passwd(PASSWORD, NEW) {
            Command::Passwd { old, new, .. } => Command::Passwd {
                old,
                new,
                code: NextCode::Kept(code),
            },
            other => other,
        }
    };
    let wrong = RecoveryCode::generate(&mut os_rng()).to_text();
    let refused = alice.run(keep(&wrong)).unwrap_err();
    assert!(refused.contains("not the recovery code"), "{refused}");
    alice.run(keep(&code)).unwrap();
    assert!(code_in(&alice.everything()).is_none());
    alice.log_out();
    assert!(alice.opens(&code) && alice.opens(NEW) && !alice.opens(PASSWORD));
}

fn new_code(password: &str, file: Option<&Path>) -> Command {
    Command::NewRecoveryCode {
        password: Zeroizing::new(password.to_owned()),
        file: file.map(Path::to_owned),
    }
}

#[test]
fn a_new_recovery_code_ends_the_one_before() {
    let server = Double::start();
    let (mut alice, first) = Somebody::register_with_code(&server, "alice");
    let refused = alice.run(new_code("guess", None)).unwrap_err();
    assert!(refused.contains("stays as it was"), "{refused}");
    alice.run(new_code(PASSWORD, None)).unwrap();
    let second = code_in(&alice.everything()).unwrap();
    let file = alice.home.path().join("code");
    alice.run(new_code(PASSWORD, Some(&file))).unwrap();
    // A file that is there is left alone, and so is the code.
    let refused = alice.run(new_code(PASSWORD, Some(&file))).unwrap_err();
    assert!(refused.contains("stays as it was"), "{refused}");
    assert!(code_in(&alice.everything()).is_none());
    let third = std::fs::read_to_string(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    alice.log_out();
    assert!(!alice.opens(&first) && !alice.opens(&second));
    assert!(alice.opens(third.trim()) && alice.opens(PASSWORD));
}

#[test]
fn a_code_that_was_never_shown_is_replaced_by_one_that_is() {
    let server = Double::start();
    let (mut alice, first) = Somebody::register_with_code(&server, "alice");
    alice.log_out();
    let mut vault = alice.vault();
    let lost = RecoveryCode::generate(&mut os_rng());
    vault.replace_recovery(&lost.wrapping_key()).unwrap();
    drop(vault);
    let asked = &mut answers(PASSWORD);
    alice.tries(asked).unwrap();
    server.cut();
    let shown = code_in(&asked.said).unwrap();
    assert!(alice.opens(&shown));
    assert!(!alice.opens(&first) && !alice.opens(&lost.to_text()));
    let asked = &mut answers(PASSWORD);
    alice.tries(asked).unwrap();
    assert!(code_in(&asked.said).is_none(), "once");
}

#[test]
fn a_server_that_only_says_that_it_changed_the_password_ends_nothing() {
    let server = Double::start();
    let (mut alice, code) = Somebody::register_with_code(&server, "alice");
    server.world.lock().unwrap().cut_passwd = Some(Cut::Lie);
    let refused = alice.run(passwd(PASSWORD, NEW)).unwrap_err();
    assert!(refused.contains("does not take the new one"), "{refused}");
    // The session goes on, and so does the old password.
    alice.run(Command::Status(alice.name)).unwrap();
    alice.log_out();
    assert!(alice.opens(PASSWORD) && alice.opens(&code));
    alice.tries(&mut answers(PASSWORD)).unwrap();
    assert!(alice.opens(PASSWORD) && !alice.opens(NEW));
}
