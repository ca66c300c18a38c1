//! What happened at the sender.

/// The kind of happening a push tells of (protocol notes 1.5; Microsoft names new IM, missed IM,
/// IM or conference invitation and new voice mail).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `im.invite`
    ImInvite,
    /// `im.message`
    ImMessage,
    /// `im.missed`
    ImMissed,
    /// `conf.invite`
    ConferenceInvite,
    /// `call.invite`
    CallInvite,
    /// `call.missed`
    CallMissed,
    /// `voicemail.new`
    VoicemailNew,
    /// `badge.update`: a number, no alert.
    BadgeUpdate,
    /// `test`: accepted and never forwarded.
    Test,
    /// `x-…`: a sender's own event.
    Extension(Box<str>),
}

impl Event {
    /// Reads an event's name; `None` for what is neither known nor `x-…` (at most 64 bytes, token characters).
    pub fn parse(name: &str) -> Option<Event> {
        Some(match name {
            "im.invite" => Event::ImInvite,
            "im.message" => Event::ImMessage,
            "im.missed" => Event::ImMissed,
            "conf.invite" => Event::ConferenceInvite,
            "call.invite" => Event::CallInvite,
            "call.missed" => Event::CallMissed,
            "voicemail.new" => Event::VoicemailNew,
            "badge.update" => Event::BadgeUpdate,
            "test" => Event::Test,
            _ if is_extension(name) => Event::Extension(name.into()),
            _ => return None,
        })
    }

    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Event::ImInvite => "im.invite",
            Event::ImMessage => "im.message",
            Event::ImMissed => "im.missed",
            Event::ConferenceInvite => "conf.invite",
            Event::CallInvite => "call.invite",
            Event::CallMissed => "call.missed",
            Event::VoicemailNew => "voicemail.new",
            Event::BadgeUpdate => "badge.update",
            Event::Test => "test",
            Event::Extension(name) => name,
        }
    }

    /// What a person is told where the sender says nothing, in English; `None` for what tells nothing by itself.
    pub fn text(&self) -> Option<&'static str> {
        match self {
            Event::ImInvite => Some("New conversation"),
            Event::ImMessage => Some("New message"),
            Event::ImMissed => Some("Missed message"),
            Event::ConferenceInvite => Some("Conference invitation"),
            Event::CallInvite => Some("Incoming call"),
            Event::CallMissed => Some("Missed call"),
            Event::VoicemailNew => Some("New voice mail"),
            Event::Test => Some("Test"),
            Event::BadgeUpdate | Event::Extension(_) => None,
        }
    }
}

fn is_extension(name: &str) -> bool {
    name.len() > 2
        && name.len() <= 64
        && name.starts_with("x-")
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}
