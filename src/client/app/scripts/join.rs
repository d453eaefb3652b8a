//! `client join LINK NAME`: makes an account on the server that an invitation names and pins its
//! certificate; with a member's invitation, the two are verified contacts from the first moment on. Said
//! again after it was cut off, it goes on where it was.

use std::time::Duration;

use super::{App, Done, Failure, by_options, password};
use crate::client::app::exit_code::DECLINED;
use crate::client::args::OptionsError;
use crate::client::messenger::command::Command;
use crate::client::messenger::introduction::expired;
use crate::client::net::endpoint::Endpoint;
use crate::client::view::ViewEvent;
use crate::protocol::{ByteArray, UserName};
use crate::transport::invitation::InvitationLink;

/// How long the server has to take the introduction; it goes out later otherwise.
const INTRODUCTION_WAITS: Duration = Duration::from_secs(30);

impl App {
    pub(super) fn join(&mut self, text: &str, name: UserName) -> Done {
        let declined = |why: String| Failure::new(DECLINED, why);
        let link: InvitationLink = text.parse().map_err(|why| declined(format!("{why}")))?;
        if let Some(why) = link.inviter.as_ref().and_then(expired) {
            return Err(declined(why));
        }
        if link
            .inviter
            .as_ref()
            .is_some_and(|inviter| inviter.name == name)
        {
            return Err(declined(format!(
                "{name} is who invites you; choose another name"
            )));
        }
        let file = self.new_code_goes_to()?;
        let (address, data) = (link.address.clone(), self.login_flow.data.clone());
        self.login_flow.endpoint = Endpoint::new(address, self.options.tls, &data)
            .map_err(|error| by_options(OptionsError::Endpoint(error)))?
            .by_link();
        let code = link.code.as_ref().map(|code| ByteArray(**code));
        let prompt = password::prompt(&mut self.terminal, &self.options);
        let account = self
            .login_flow
            .join(name, code, &mut prompt.map_err(by_options)?)?;
        let session = self.start(account, self.script_display())?;
        self.session = Some((name, session));
        self.terminal.say(&ViewEvent::Registered {
            name,
            recovery_file: file,
        });
        match link.inviter {
            None => self.terminal.say(&ViewEvent::quiet(
                "this invitation is the operator's: it vouches for the server, and for nobody on it; compare \
                 safety numbers with /verify",
            )),
            Some(_) => {
                self.ask_script_session(Command::Introduce(text.to_owned()))?;
                self.ask_script_session(Command::AwaitAnswers(INTRODUCTION_WAITS))?;
            }
        }
        self.terminal.say(&ViewEvent::quiet(format!(
            "to chat: client --server {} --user {name}",
            link.address
        )));
        Ok(())
    }
}
