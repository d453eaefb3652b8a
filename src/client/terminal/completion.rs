//! What completion and the prompt know of the session: whether somebody is logged in, and the
//! people they know. Completion itself is in `app::commands`.

use crate::client::view::Person;
use crate::protocol::UserName;
use crate::sync::Mutex;

/// The session's state and people, which the messenger, the main thread and `input` share. The
/// lock guards these fields alone, and no other is taken under it.
#[derive(Default)]
pub(super) struct Completion(Mutex<Known>);

#[derive(Default)]
struct Known {
    logged_in: bool,
    people: Vec<Person>,
}

impl Completion {
    /// Notes a login or a logout. A logout forgets the people.
    pub(super) fn set_logged_in(&self, logged_in: bool) {
        let mut known = self.0.lock();
        known.logged_in = logged_in;
        if !logged_in {
            known.people.clear();
        }
    }

    /// Replaces the people that are known.
    pub(super) fn set_people(&self, people: Vec<Person>) {
        self.0.lock().people = people;
    }

    /// Whether this person's identity was verified by hand; `None` if they are not known.
    pub(super) fn verified(&self, name: &UserName) -> Option<bool> {
        let known = self.0.lock();
        let person = known.people.iter().find(|person| person.name == *name);
        person.map(|person| person.verified)
    }

    /// Whether somebody is logged in, and the names that can be completed.
    pub(super) fn candidates(&self) -> (bool, Vec<String>) {
        let known = self.0.lock();
        let names = known.people.iter().map(|person| person.name.to_string());
        (known.logged_in, names.collect())
    }
}
