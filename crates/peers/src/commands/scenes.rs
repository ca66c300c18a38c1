//! What the demo plays: each scene one request, with what everyone is expected to see of it.

use pushrelay_peers::apns::ApnsReceived;
use pushrelay_peers::edge::PUSH_JSON;
use pushrelay_peers::mpns::MpnsReceived;
use pushrelay_peers::world::{TOPIC, device_token};
use pushrelay_peers::{ApnsAnswer, MpnsAnswer, Push, SipAnswer, SipRequest, World};
use serde_json::json;

/// One request and its consequences.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    pub(crate) request: SipRequest,
    /// The same request once more, over the same connection.
    pub(crate) repeated: bool,
    pub(crate) status: u16,
    /// How many pushes each provider is to see.
    pub(crate) apple: usize,
    pub(crate) windows_phone: usize,
    /// What else must be so; the error says what is not.
    pub(crate) check: fn(&Seen) -> Result<(), String>,
}

/// What everyone saw of a scene.
pub(crate) struct Seen {
    pub(crate) answers: Vec<SipAnswer>,
    pub(crate) apple: Vec<ApnsReceived>,
    pub(crate) windows_phone: Vec<MpnsReceived>,
}

impl Scene {
    /// Holds what was seen to what was expected.
    pub(crate) fn judge(&self, seen: &Seen) -> Result<(), String> {
        for answer in &seen.answers {
            same("status", &answer.status, &self.status)?;
            let told = answer.reason().is_some_and(|reason| !reason.is_empty());
            if answer.status >= 300 && !told {
                return Err("no reason in ms-diagnostics-public".to_owned());
            }
        }
        same("pushes to Apple", &seen.apple.len(), &self.apple)?;
        let phones = seen.windows_phone.len();
        same("pushes to Windows Phone", &phones, &self.windows_phone)?;
        (self.check)(seen)
    }
}

/// Scripts the fakes and lists the scenes.
pub(crate) fn scenes(world: &World) -> Vec<Scene> {
    let iphone = device_token(1);
    let dead_iphone = device_token(2);
    let strange_iphone = device_token(3);
    let phone = world.windows_phone.url_for("phone1");
    let dead_phone = world.windows_phone.url_for("phone2");
    (world.apple).script(&dead_iphone, [ApnsAnswer::gone(1_750_000_000_000)]);
    (world.apple).script(&strange_iphone, [ApnsAnswer::error(400, "BadDeviceToken")]);
    (world.windows_phone).script("phone2", [MpnsAnswer::expired()]);

    let plain = |title, status, request| Scene {
        title,
        request,
        repeated: false,
        status,
        apple: 0,
        windows_phone: 0,
        check: |_| Ok(()),
    };
    vec![
        Scene {
            apple: 1,
            check: |seen| {
                let push = &seen.apple[0];
                same("topic", &push.topic.as_deref(), &Some(TOPIC))?;
                same("push type", &push.push_type.as_deref(), &Some("alert"))?;
                same("title", &push.payload["aps"]["alert"]["title"], &json!("Kim Akers"))
            },
            ..plain(
                "An instant message, to an iPhone",
                200,
                from_kim(Push::new("im.message").alert("Kim Akers", "Are you there?").apple(&iphone)),
            )
        },
        Scene {
            apple: 1,
            windows_phone: 1,
            check: |seen| {
                let toast = &seen.windows_phone[0];
                same("target", &toast.target.as_deref(), &Some("toast"))?;
                same("class", &toast.class.as_deref(), &Some("2"))?;
                same("first line", &toast.text("wp:Text1"), &Some("Missed call"))
            },
            ..plain(
                "A missed call, to an iPhone and a Windows Phone",
                200,
                from_kim(
                    Push::new("call.missed")
                        .alert("Missed call", "Kim <Akers> & \"Co\", 14:02")
                        .with("badge", 3)
                        .apple(&iphone)
                        .windows_phone(&phone),
                ),
            )
        },
        Scene {
            windows_phone: 1,
            check: |seen| {
                let tile = &seen.windows_phone[0];
                same("target", &tile.target.as_deref(), &Some("token"))?;
                same("class", &tile.class.as_deref(), &Some("1"))?;
                same("count", &tile.text("wp:Count"), &Some("2"))
            },
            ..plain(
                "A new voice mail, as a tile on a Windows Phone",
                200,
                from_kim(
                    Push::new("voicemail.new")
                        .with("mpns", json!({ "kind": "tile", "tile": { "count": 2, "title": "Voice mail" } }))
                        .windows_phone(&phone),
                ),
            )
        },
        Scene {
            apple: 1,
            check: |seen| same("badge", &seen.apple[0].payload["aps"]["badge"], &json!(0)),
            ..plain(
                "Everything is read: the badge goes, without a sound",
                200,
                from_kim(Push::new("badge.update").with("badge", 0).apple(&iphone)),
            )
        },
        Scene {
            apple: 1,
            repeated: true,
            check: |seen| same("second answer", &seen.answers[1].to_tag(), &seen.answers[0].to_tag()),
            ..plain(
                "The same request twice, with a Via of RFC 2543: one push, one answer told twice",
                200,
                from_kim(Push::new("im.missed").alert("Kim Akers", "Call me").apple(&iphone)).branchless(),
            )
        },
        Scene {
            apple: 1,
            ..plain(
                "An iPhone that has removed the app",
                410,
                from_kim(Push::new("im.message").alert("Kim Akers", "Gone?").apple(&dead_iphone)),
            )
        },
        Scene {
            apple: 1,
            windows_phone: 1,
            check: |seen| match seen.answers[0].header("Warning") {
                Some(_) => Ok(()),
                None => Err("no Warning".to_owned()),
            },
            ..plain(
                "A Windows Phone whose channel is dead, beside an iPhone that is well",
                200,
                from_kim(
                    Push::new("im.message")
                        .alert("Kim Akers", "Hello, both")
                        .apple(&iphone)
                        .windows_phone(&dead_phone),
                ),
            )
        },
        Scene {
            apple: 1,
            ..plain(
                "A token that Apple has never heard of",
                488,
                from_kim(Push::new("im.message").alert("Kim Akers", "Hello").apple(&strange_iphone)),
            )
        },
        plain(
            "A Windows Phone channel outside the allowed hosts",
            400,
            from_kim(
                Push::new("im.message")
                    .alert("Kim Akers", "Hello")
                    .windows_phone("http://intranet.example/throttledthirdparty/01.00/x"),
            ),
        ),
        Scene {
            check: |seen| match seen.answers[0].header("Accept") {
                Some(_) => Ok(()),
                None => Err("no Accept".to_owned()),
            },
            ..plain(
                "A body that nobody understands",
                415,
                SipRequest::message(URI, KIM, "text/plain", "Hello"),
            )
        },
        plain(
            "A sender of a domain that is not this partner's",
            403,
            SipRequest::message(URI, "sip:eve@fabrikam.example", PUSH_JSON, im(&iphone)),
        ),
        plain(
            "An address that is not ours",
            404,
            SipRequest::message("sip:pull@push.example.org", KIM, PUSH_JSON, im(&iphone)),
        ),
        Scene {
            check: |seen| match seen.answers[0].header("Allow") {
                Some(allow) if allow.contains("MESSAGE") => Ok(()),
                other => Err(format!("Allow is {other:?}")),
            },
            ..plain(
                "OPTIONS, as Test-CsFederatedPartner sends it",
                200,
                SipRequest::bare("OPTIONS", "sip:push.example.org", KIM),
            )
        },
        plain(
            "NEGOTIATE: this relay does not compress",
            405,
            SipRequest {
                max_forwards: 0,
                ..SipRequest::bare("NEGOTIATE", "sip:127.0.0.1:5061", KIM)
            }
            .branchless()
            .field("Compression", "LZ77-8K"),
        ),
    ]
}

fn from_kim(push: Push) -> SipRequest {
    SipRequest {
        display_name: Some("Kim Akers".to_owned()),
        ..SipRequest::message(URI, KIM, PUSH_JSON, push)
    }
}

fn im(token: &str) -> Push {
    Push::new("im.message")
        .alert("Kim Akers", "Hello")
        .apple(token)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    if got == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, got {got:?}"))
}

const URI: &str = "sip:push@push.example.org";
const KIM: &str = "sip:kima@contoso.example";
