//! Questions and answers as they go over the admin socket, in JSON. What `--json` prints is these answers.

use std::time::{Duration, SystemTime};

use pushrelay_push::Service as Provider;
use pushrelay_spool::{Cursor, Filter, Fingerprint, State};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::waiting;

/// What an operator asks. Each is bounded work: who wants more asks again from where the answer ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// A page of entries: [`EntryPage`].
    SpoolList {
        /// Which.
        #[serde(default)]
        which: Which,
        /// Where the page before ended; 0 is the beginning.
        #[serde(default)]
        after: u64,
        /// At most so many, and at most 1000.
        limit: usize,
    },
    /// One entry and all that is known of it: [`EntryStory`].
    SpoolShow(Uuid),
    /// Entries due at once, with all their attempts before them: [`Changes`].
    SpoolRetry(Choice),
    /// Entries removed for good: [`Changes`].
    SpoolDrop(Choice),
    /// What lies in the spool: [`Stock`].
    SpoolStats,
    /// The entries of a Call-ID: [`EntryPage`]. Reads every entry, a bounded number for each question.
    SpoolSearch {
        /// The Call-ID.
        call_id: String,
        /// Where the page before ended; 0 is the beginning.
        #[serde(default)]
        after: u64,
    },
    /// Devices that are refused at the door: [`DevicePage`].
    DevicesList {
        /// The last of the page before.
        #[serde(default)]
        after: Option<Digest>,
        /// At most so many, and at most 1000.
        limit: usize,
    },
    /// A device let in again: [`Forgotten`].
    DevicesForget(Digest),
    /// What became of the MESSAGEs of a Call-ID, or of the push of an apns-id: [`Explanation`].
    Explain(String),
}

/// Which entries; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Which {
    /// Only of this provider.
    pub(crate) service: Option<ProviderName>,
    /// Only of this partner.
    pub(crate) partner: Option<String>,
    /// Only in this state.
    pub(crate) state: Option<Standing>,
    /// Only what has been there for longer than so many seconds.
    pub(crate) older_than: Option<u64>,
    /// Only what has not been there for longer than so many seconds.
    pub(crate) newer_than: Option<u64>,
}

impl Which {
    /// The spool's filter for it.
    pub(crate) fn filter(&self, now: SystemTime) -> Filter {
        // Longer ago than the clock reaches is before everything.
        let ago = |seconds| {
            now.checked_sub(Duration::from_secs(seconds))
                .unwrap_or(SystemTime::UNIX_EPOCH)
        };
        Filter {
            lane: self.service.map(|service| waiting::lane(service.into())),
            state: self.state.map(State::from),
            owner: self.partner.as_deref().map(Box::from),
            before: self.older_than.map(ago),
            since: self.newer_than.map(ago),
            bytes: None,
        }
    }
}

/// One entry, or those that match.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Choice {
    /// The one of this id.
    Id(Uuid),
    /// Those that match, a bounded number for each question.
    Matching {
        /// Which.
        which: Which,
        /// Where the answer before ended; 0 is the beginning.
        #[serde(default)]
        after: u64,
    },
}

/// A provider, by the name that metrics and logs have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProviderName {
    /// Apple.
    Apns,
    /// Windows Phone.
    Mpns,
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Provider {
        match name {
            ProviderName::Apns => Provider::Apns,
            ProviderName::Mpns => Provider::Mpns,
        }
    }
}

impl From<Provider> for ProviderName {
    fn from(provider: Provider) -> ProviderName {
        match provider {
            Provider::Apns => ProviderName::Apns,
            Provider::Mpns => ProviderName::Mpns,
        }
    }
}

impl ProviderName {
    /// The name.
    pub(crate) fn label(self) -> &'static str {
        Provider::from(self).label()
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It will be tried, or is being tried.
    Waiting,
    /// Refused by its provider, or deferred too often by its device; kept for the operator.
    Buried,
    /// It cannot be read, or whoever worked on it died of it; kept for the operator.
    Parked,
}

impl From<Standing> for State {
    fn from(standing: Standing) -> State {
        match standing {
            Standing::Waiting => State::Waiting,
            Standing::Buried => State::Buried,
            Standing::Parked => State::Parked,
        }
    }
}

impl From<State> for Standing {
    fn from(state: State) -> Standing {
        match state {
            State::Waiting => Standing::Waiting,
            State::Buried => Standing::Buried,
            State::Parked => Standing::Parked,
        }
    }
}

impl Standing {
    /// The name.
    pub(crate) fn label(self) -> &'static str {
        State::from(self).label()
    }
}

/// A moment, as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) SystemTime);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = humantime::parse_rfc3339(&text);
        moment.map(Moment).map_err(serde::de::Error::custom)
    }
}

/// The digest that a device is known by where its token or channel is not to be read, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) Fingerprint);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Digest, Self::Err> {
        // Without this a sign would be read as a digit's neighbour.
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        let number =
            number.ok_or("expected 32 hexadecimal digits, as `devices list` shows them")?;
        Ok(Digest(Fingerprint(number.to_be_bytes())))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Some entries, in the order of their coming.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EntryPage {
    /// The entries. May be none although there are more: one question looks at a bounded number.
    pub(crate) entries: Vec<EntryLine>,
    /// Where to go on; absent at the end.
    pub(crate) next: Option<u64>,
}

/// One entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EntryLine {
    /// The apns-id, also where Apple is not meant.
    pub(crate) id: Uuid,
    /// The provider.
    pub(crate) service: Option<ProviderName>,
    /// Where it stands.
    pub(crate) state: Standing,
    /// Whether it is being tried just now.
    pub(crate) under_way: bool,
    /// The partner that sent it.
    pub(crate) partner: String,
    /// When it was put on disk.
    pub(crate) appended: Moment,
    /// When it is tried next, while it waits.
    pub(crate) due: Option<Moment>,
    /// When it is worthless.
    pub(crate) expires: Option<Moment>,
    /// Since when it lies buried or parked.
    pub(crate) buried: Option<Moment>,
    /// How often it was deferred.
    pub(crate) deferred: u32,
    /// How often its own device deferred it.
    pub(crate) deferred_by_device: u32,
    /// Its length on disk.
    pub(crate) bytes: u64,
    /// What was said of it last.
    pub(crate) said: Option<String>,
}

/// One entry and all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EntryStory {
    /// What the spool says.
    pub(crate) entry: EntryLine,
    /// What is in it; absent where it cannot be read.
    pub(crate) push: Option<Contents>,
    /// Why it cannot be read.
    pub(crate) unreadable: Option<String>,
    /// What became of it, and who must act.
    pub(crate) story: PushStory,
}

/// What waits, without what nobody may read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// The Call-ID of its MESSAGE.
    pub(crate) call_id: String,
    /// When the MESSAGE came.
    pub(crate) received: Moment,
    /// Which target of the MESSAGE it is, from 0.
    pub(crate) target: u32,
    /// What happened at the sender.
    pub(crate) event: String,
    /// The device, shortened so that nobody can push to it.
    pub(crate) device: String,
    /// The app as the sender named it.
    pub(crate) app: Option<String>,
    /// By what `devices forget` knows the device, where the app is known.
    pub(crate) digest: Option<Digest>,
    /// Whether it replaces an earlier one, or is replaced by a later.
    pub(crate) collapses: bool,
}

/// What a change did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// The entries that were changed.
    pub(crate) changed: Vec<Uuid>,
    /// How many were left alone, because they are being tried just now.
    pub(crate) under_way: u64,
    /// Where to go on; absent at the end.
    pub(crate) next: Option<u64>,
}

/// What lies in the spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stock {
    /// Every combination that is not empty.
    pub(crate) heaps: Vec<Heap>,
    /// How many are being tried just now, by provider.
    pub(crate) under_way: Vec<UnderWay>,
    /// Devices that are refused at the door.
    pub(crate) gone_devices: u64,
    /// Ids that are remembered after their end, so that a repetition is not pushed again.
    pub(crate) remembered_ids: u64,
    /// Why the spool takes nothing now; absent when all is well.
    pub(crate) trouble: Option<String>,
}

/// What of one provider is being tried just now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    /// The provider.
    pub(crate) service: ProviderName,
    /// How many entries.
    pub(crate) entries: u64,
}

/// Entries of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Heap {
    /// The provider.
    pub(crate) service: Option<ProviderName>,
    /// Where they stand.
    pub(crate) state: Standing,
    /// The partner that sent them.
    pub(crate) partner: String,
    /// How many.
    pub(crate) entries: u64,
    /// Their length on disk.
    pub(crate) bytes: u64,
}

/// Some devices that are refused at the door, in the order of their digests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DevicePage {
    /// The devices.
    pub(crate) devices: Vec<DeviceLine>,
    /// The last of them, where there may be more.
    pub(crate) next: Option<Digest>,
}

/// A device that is refused at the door.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceLine {
    /// Of provider, app and token or channel.
    pub(crate) device: Digest,
    /// The provider.
    pub(crate) service: Option<ProviderName>,
    /// The app; empty for a Windows Phone.
    pub(crate) app: String,
    /// Since when, as the provider says.
    pub(crate) since: Option<Moment>,
    /// When the provider said so.
    pub(crate) noted: Moment,
}

/// Whether there was anything to forget.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    /// Whether the device was refused before.
    pub(crate) forgotten: bool,
}

/// What became of MESSAGEs and their pushes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The MESSAGEs that are remembered, oldest first.
    pub(crate) messages: Vec<MessageStory>,
    /// Their pushes, or the one that was asked for.
    pub(crate) pushes: Vec<PushStory>,
    /// How far back the memory reaches; absent where nothing is remembered.
    pub(crate) remembers_since: Option<Moment>,
}

/// What became of a MESSAGE.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MessageStory {
    /// Its Call-ID, or as much of it as is kept.
    pub(crate) call_id: String,
    /// The number of its CSeq.
    pub(crate) cseq: u32,
    /// The partner that sent it; absent for a stranger.
    pub(crate) partner: Option<String>,
    /// When it came.
    pub(crate) received: Moment,
    /// Whether the same had come before.
    pub(crate) repeats: bool,
    /// The SIP status of its answer; absent while it is open.
    pub(crate) status: Option<u16>,
    /// After how many microseconds it was answered.
    pub(crate) answered_after_us: Option<u64>,
    /// Why it was refused at the door.
    pub(crate) refusal: Option<String>,
    /// Who must act, and what to do, where that is not said of its pushes.
    pub(crate) advice: Option<String>,
}

/// What became of a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PushStory {
    /// Its id at the provider.
    pub(crate) id: Uuid,
    /// The provider, where it is known.
    pub(crate) service: Option<ProviderName>,
    /// What happened, as far as it is remembered, oldest first.
    pub(crate) steps: Vec<StepLine>,
    /// Where it lies on disk, if it does.
    pub(crate) entry: Option<EntryLine>,
    /// Where it stands now.
    pub(crate) now: String,
    /// Who must act, and what to do.
    pub(crate) advice: String,
}

/// One thing that happened to a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StepLine {
    /// When.
    pub(crate) at: Moment,
    /// What, in a word: `target`, `attempt`, `kept`, `dispatched`, `deferred`, `ended`, `retried`.
    pub(crate) step: String,
    /// The same in a sentence.
    pub(crate) text: String,
    /// The verdict of an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<String>,
    /// What was said or happened in an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// The app that an attempt went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    /// How many microseconds the provider took in an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took_us: Option<u64>,
    /// When it is to be tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Moment>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Refused {
    /// Whose doing it is.
    pub(crate) kind: Fault,
    /// What was there, and what was expected.
    pub(crate) error: String,
}

/// Whose doing it is that a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// The question cannot be read, or asks what this relay does not have.
    Question,
    /// There is nothing of that name.
    NotThere,
    /// The spool is in trouble, or did not answer in time.
    Spool,
}

/// The place of a page, for the spool.
pub(crate) fn cursor(after: u64) -> Cursor {
    Cursor::from_number(after)
}
