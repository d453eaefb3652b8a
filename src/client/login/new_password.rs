//! Choosing a password, for a new account or in place of another one: what is refused, how strong it is, and asking until it was
//! typed twice. What is made of it is decided in `credentials`.

use zeroize::Zeroizing;

use super::credentials::check_new;
use super::error::LoginError;
use super::prompt::{Chosen, Prompt, no_password};
use crate::client::view::ViewEvent;
use crate::protocol::{UserName, limits};

/// What people who guess passwords try first, of the passwords that are long enough. Digits and signs
/// at the end make none of them better.
const COMMON: &[&str] = &[
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "abcd1234",
    "administrator",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "babygirl",
    "baseball",
    "butterfly",
    "changeme",
    "chocolate",
    "computer",
    "correcthorsebatterystaple",
    "football",
    "iloveyou",
    "internet",
    "jennifer",
    "liverpool",
    "metallica",
    "michelle",
    "passw0rd",
    "password",
    "princess",
    "q1w2e3r4",
    "q1w2e3r4t5",
    "qazwsxedc",
    "qwerty",
    "qwertyui",
    "qwertyuiop",
    "qwertz",
    "securechat",
    "starwars",
    "sunshine",
    "superman",
    "testtest",
    "trustno1",
    "welcome",
    "whatever",
    "zaq12wsx",
    // These are too short without what people put behind them.
    "abc",
    "admin",
    "charlie",
    "dragon",
    "hello",
    "letmein",
    "login",
    "master",
    "monkey",
    "pass",
    "secret",
    "shadow",
    "test",
    "user",
];

/// Has a new password typed twice, or takes the one that the options give.
///
/// # Errors
/// There is none, or the one that the options give is refused.
pub(super) fn choose(
    name: &UserName,
    prompt: &mut dyn Prompt,
) -> Result<Zeroizing<String>, LoginError> {
    ask(name, prompt, |prompt, question| prompt.choose(question))?.ok_or_else(no_password)
}

/// The same for an account that has a password; `None` if there is no new one.
///
/// # Errors
/// The one that the options give is refused, or it was not typed again.
pub(super) fn choose_another(
    name: &UserName,
    prompt: &mut dyn Prompt,
) -> Result<Option<Zeroizing<String>>, LoginError> {
    ask(name, prompt, |prompt, question| {
        prompt.choose_another(question)
    })
}

fn ask(
    name: &UserName,
    prompt: &mut dyn Prompt,
    choose: impl Fn(&mut dyn Prompt, &str) -> Chosen,
) -> Result<Option<Zeroizing<String>>, LoginError> {
    let question = format!(
        "New password (at least {} characters): ",
        limits::MIN_PASSWORD
    );
    loop {
        let password = match choose(prompt, &question) {
            Chosen::Given(password) => {
                check(name, &password).map_err(LoginError::Refused)?;
                return Ok(Some(password));
            }
            Chosen::Typed(password) => password,
            Chosen::Nothing => return Ok(None),
        };
        if let Err(why) = check(name, &password) {
            prompt.say(ViewEvent::bad(why));
            continue;
        }
        prompt.say(ViewEvent::quiet(hint(&password)));
        if typed_again(&password, prompt, &choose)? {
            return Ok(Some(password));
        }
    }
}

/// Has the password typed once more, until it is the same. `false` if another one is to be chosen.
fn typed_again(
    password: &str,
    prompt: &mut dyn Prompt,
    choose: &impl Fn(&mut dyn Prompt, &str) -> Chosen,
) -> Result<bool, LoginError> {
    loop {
        let again = match choose(prompt, "The same password again: ") {
            Chosen::Typed(again) | Chosen::Given(again) => again,
            Chosen::Nothing => return Err(no_password()),
        };
        if *again == *password {
            return Ok(true);
        }
        if again.is_empty() {
            return Ok(false);
        }
        prompt.say(ViewEvent::bad(
            "that is another password; type the first one again, or press Enter to choose anew",
        ));
    }
}

/// Refuses a password that is guessed at once.
fn check(name: &UserName, password: &str) -> Result<(), String> {
    check_new(password)?;
    let plain = password.to_lowercase();
    let plain: String = plain
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '_' | '.'))
        .collect();
    let stem = plain.trim_end_matches(|c: char| !c.is_alphabetic());
    let why = if COMMON.contains(&plain.as_str()) || COMMON.contains(&stem) {
        "it is one of the first that anybody tries"
    } else if stem == name.as_str() {
        "it is hardly more than the account's name"
    } else if is_pattern(&plain) {
        "it is a simple pattern"
    } else {
        return Ok(());
    };
    Err(format!("not this password: {why}; choose another"))
}

/// Whether hardly any character is new after those before it: `aaaaaaaa`, `abababab`, `12345678`.
fn is_pattern(text: &str) -> bool {
    new_characters(text) < 4
}

/// How many characters are new: neither there before, nor next to the one before in their order.
fn new_characters(text: &str) -> usize {
    let mut seen: Vec<char> = Vec::new();
    let mut last = None;
    let mut count = 0;
    for c in text.chars() {
        let follows = last.is_some_and(|last| u32::from(c).abs_diff(last) <= 1);
        if !follows && !seen.contains(&c) {
            count += 1;
        }
        seen.push(c);
        last = Some(u32::from(c));
    }
    count
}

/// How strong a password is, and what makes a stronger one. It is a rough measure: nothing tells
/// words that were drawn from words that were picked.
fn hint(password: &str) -> String {
    let kinds: [fn(&char) -> bool; 4] = [
        |c| c.is_lowercase(),
        |c| c.is_uppercase(),
        |c| c.is_numeric(),
        |c| !c.is_alphanumeric(),
    ];
    let kinds = kinds
        .iter()
        .filter(|kind| password.chars().any(|c| kind(&c)))
        .count();
    let length = password.chars().count();
    let worth = new_characters(password) + length + kinds;
    match worth {
        0..=20 => {
            "weak: who steals the server's database can try it out; four random words are better"
        }
        21..=28 => "fair; another random word makes it strong",
        _ => "strong",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(password: &str) -> Option<String> {
        check(&"alice".parse().unwrap(), password).err()
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        for password in [
            "short",
            "password",
            "Password123!",
            "PASS-WORD",
            "qwertyuiop",
            "letmein2026",
            "11111111",
            "abababab",
            "12345678",
            "87654321",
            "abcdefgh",
            "alice123",
            "Alice!!!!",
            "correct horse battery staple",
        ] {
            assert!(refusal(password).is_some(), "{password}");
        }
        for password in [
            "correct horse battery",
            "open-sesame-9000",
            "tr0ub4dor&3",
            "passwordless lake",
            "alice in wonderland",
            "пароль из слов",
        ] {
            assert_eq!(refusal(password), None, "{password}");
        }
    }

    #[test]
    fn the_hint_grows_with_the_password() {
        for (password, word) in [
            ("kangaroo", "weak"),
            ("kangaroo7", "weak"),
            ("Tr0ub4dor&3", "fair"),
            ("correct horse battery", "strong"),
        ] {
            assert!(
                hint(password).starts_with(word),
                "{password}: {}",
                hint(password)
            );
        }
    }
}
