//! What a notification looks like on a Windows Phone: a toast, a tile, raw bytes, or a tile and one of the others.

use std::borrow::Cow;

use super::apple::sender;
use super::template::clean;
use super::{Fields, Template};
use crate::notification::{Delay, MpnsKind, Notification, Tile};

/// What the operator has decided for some events of some apps. Where it names neither toast, tile nor raw, the sender's kind stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhoneTemplate {
    /// A banner.
    pub toast: Option<ToastTemplate>,
    /// A tile.
    pub tile: Option<TileTemplate>,
    /// Bytes for the running app.
    pub raw: Option<Template>,
    /// The batching interval; the sender's where there is none.
    pub delay: Option<Delay>,
}

/// A banner; what is `None` stays the sender's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToastTemplate {
    /// `wp:Text1`
    pub text1: Option<Template>,
    /// `wp:Text2`
    pub text2: Option<Template>,
    /// `wp:Param`
    pub param: Option<Template>,
}

/// A tile and its elements. An element that comes out empty is cleared on the phone; one that is not named stays as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileTemplate {
    /// Which of Microsoft's tiles.
    pub style: TileStyle,
    /// The navigation URI of a secondary tile; the app's own tile without.
    pub id: Option<Template>,
    /// In the order of [`TileStyle::elements`].
    pub elements: Vec<(TileElement, Template)>,
}

/// Microsoft's tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TileStyle {
    /// The tile of Windows Phone 7.1, which later ones understand.
    #[default]
    Plain,
    /// `FlipTile` of Windows Phone 8.
    Flip,
    /// `IconicTile` of Windows Phone 8.
    Iconic,
    /// `CycleTile` of Windows Phone 8.
    Cycle,
}

macro_rules! elements {
    ($($variant:ident $key:literal $xml:literal $meaning:literal;)*) => {
        /// An element of a tile, by Microsoft's name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TileElement {
            $(#[doc = $meaning] $variant,)*
        }

        impl TileElement {
            /// All of all styles.
            pub const ALL: &'static [TileElement] = &[$(TileElement::$variant),*];

            /// Its key in the configuration.
            pub fn key(self) -> &'static str {
                match self { $(TileElement::$variant => $key,)* }
            }

            /// Its name in XML, without the prefix.
            pub fn xml(self) -> &'static str {
                match self { $(TileElement::$variant => $xml,)* }
            }
        }
    };
}

elements! {
    SmallBackgroundImage "small_background_image" "SmallBackgroundImage" "Picture of the small tile.";
    WideBackgroundImage "wide_background_image" "WideBackgroundImage" "Picture of the wide tile's front.";
    WideBackBackgroundImage "wide_back_background_image" "WideBackBackgroundImage" "Picture of the wide tile's back.";
    WideBackContent "wide_back_content" "WideBackContent" "Text of the wide tile's back.";
    SmallIconImage "small_icon_image" "SmallIconImage" "Icon of the small tile.";
    IconImage "icon_image" "IconImage" "Icon of the other tiles.";
    WideContent1 "wide_content1" "WideContent1" "First line of the wide tile.";
    WideContent2 "wide_content2" "WideContent2" "Second line of the wide tile.";
    WideContent3 "wide_content3" "WideContent3" "Third line of the wide tile.";
    CycleImage1 "cycle_image1" "CycleImage1" "First picture.";
    CycleImage2 "cycle_image2" "CycleImage2" "Second picture.";
    CycleImage3 "cycle_image3" "CycleImage3" "Third picture.";
    CycleImage4 "cycle_image4" "CycleImage4" "Fourth picture.";
    CycleImage5 "cycle_image5" "CycleImage5" "Fifth picture.";
    CycleImage6 "cycle_image6" "CycleImage6" "Sixth picture.";
    CycleImage7 "cycle_image7" "CycleImage7" "Seventh picture.";
    CycleImage8 "cycle_image8" "CycleImage8" "Eighth picture.";
    CycleImage9 "cycle_image9" "CycleImage9" "Ninth picture.";
    BackgroundImage "background_image" "BackgroundImage" "Picture of the front.";
    Count "count" "Count" "The number, 1 to 99; 0 or nothing clears it.";
    Title "title" "Title" "Text of the front.";
    BackgroundColor "background_color" "BackgroundColor" "`#AARRGGBB`.";
    BackBackgroundImage "back_background_image" "BackBackgroundImage" "Picture of the back.";
    BackTitle "back_title" "BackTitle" "Title of the back.";
    BackContent "back_content" "BackContent" "Text of the back.";
}

impl TileStyle {
    /// All.
    pub const ALL: [TileStyle; 4] = [
        TileStyle::Plain,
        TileStyle::Flip,
        TileStyle::Iconic,
        TileStyle::Cycle,
    ];

    /// The value of the attribute `Template`; the tile of 7.1 has none.
    pub fn template(self) -> Option<&'static str> {
        match self {
            TileStyle::Plain => None,
            TileStyle::Flip => Some("FlipTile"),
            TileStyle::Iconic => Some("IconicTile"),
            TileStyle::Cycle => Some("CycleTile"),
        }
    }

    /// Its elements in the order that devices expect (Microsoft, "Tile schema for Windows Phone 8").
    pub fn elements(self) -> &'static [TileElement] {
        use TileElement as E;
        match self {
            TileStyle::Plain => &[
                E::BackgroundImage,
                E::Count,
                E::Title,
                E::BackBackgroundImage,
                E::BackTitle,
                E::BackContent,
            ],
            TileStyle::Flip => &[
                E::SmallBackgroundImage,
                E::WideBackgroundImage,
                E::WideBackBackgroundImage,
                E::WideBackContent,
                E::BackgroundImage,
                E::Count,
                E::Title,
                E::BackBackgroundImage,
                E::BackTitle,
                E::BackContent,
            ],
            TileStyle::Iconic => &[
                E::SmallIconImage,
                E::IconImage,
                E::WideContent1,
                E::WideContent2,
                E::WideContent3,
                E::Count,
                E::Title,
                E::BackgroundColor,
            ],
            TileStyle::Cycle => &[
                E::SmallBackgroundImage,
                E::CycleImage1,
                E::CycleImage2,
                E::CycleImage3,
                E::CycleImage4,
                E::CycleImage5,
                E::CycleImage6,
                E::CycleImage7,
                E::CycleImage8,
                E::CycleImage9,
                E::Count,
                E::Title,
            ],
        }
    }
}

/// What is shown: one notification of MPNS, or a tile and then another. The tile is first because it may be sent twice without harm:
/// when the second one fails, both are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneLook<'a> {
    /// Sent before the other one.
    pub before: Option<TileLook<'a>>,
    /// The one that counts.
    pub shown: Shown<'a>,
    /// The batching interval.
    pub delay: Delay,
}

/// One notification of MPNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A banner.
    Toast(ToastLook<'a>),
    /// A tile.
    Tile(TileLook<'a>),
    /// Bytes for the running app.
    Raw(Cow<'a, str>),
}

/// A banner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToastLook<'a> {
    /// `wp:Text1`
    pub text1: Cow<'a, str>,
    /// `wp:Text2`
    pub text2: Cow<'a, str>,
    /// `wp:Param`: a page of the app, beginning with `/`, at most 256 characters.
    pub param: Option<Cow<'a, str>>,
}

/// A tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileLook<'a> {
    /// Which of Microsoft's.
    pub style: TileStyle,
    /// The navigation URI of a secondary tile.
    pub id: Option<Cow<'a, str>>,
    /// In the order that devices expect; an empty text clears.
    pub elements: Vec<(TileElement, Cow<'a, str>)>,
}

impl<'a> PhoneLook<'a> {
    /// The look of one target; `template` is what the operator wants for it.
    pub fn of(fields: &Fields<'a>, template: Option<&'a PhoneTemplate>) -> Self {
        let delay = template.and_then(|template| template.delay);
        let (before, shown) = match template {
            Some(template) => wanted(fields, template),
            None => (None, None),
        };
        PhoneLook {
            before,
            shown: shown.unwrap_or_else(|| plain(fields)),
            delay: delay.unwrap_or(fields.notification.windows_phone.delay),
        }
    }

    /// Everything, in the order in which it is sent.
    pub fn parts(self) -> impl Iterator<Item = Shown<'a>> {
        self.before.map(Shown::Tile).into_iter().chain([self.shown])
    }
}

/// What the template names: at most a tile and one of the others; a toast before raw bytes.
fn wanted<'a>(
    fields: &Fields<'a>,
    template: &'a PhoneTemplate,
) -> (Option<TileLook<'a>>, Option<Shown<'a>>) {
    let toast = template
        .toast
        .as_ref()
        .map(|toast| Shown::Toast(toast.fill(fields)));
    let raw = || Some(Shown::Raw(template.raw.as_ref()?.render(fields)));
    let tile = template.tile.as_ref().map(|tile| tile.fill(fields));
    match (tile, toast.or_else(raw)) {
        (Some(tile), None) => (None, Some(Shown::Tile(tile))),
        (tile, other) => (tile, other),
    }
}

/// What the sender asks for, except that a number alone needs a tile, and that hidden bytes cannot go.
fn plain<'a>(fields: &Fields<'a>) -> Shown<'a> {
    let notification = fields.notification;
    let phone = &notification.windows_phone;
    match phone.kind {
        MpnsKind::Toast if is_number(notification) => Shown::Tile(tile(fields)),
        MpnsKind::Tile => Shown::Tile(tile(fields)),
        MpnsKind::Raw if !fields.hide_content => {
            Shown::Raw(Cow::Borrowed(phone.raw.as_deref().unwrap_or_default()))
        }
        MpnsKind::Toast | MpnsKind::Raw => Shown::Toast(toast(fields)),
    }
}

fn is_number(notification: &Notification) -> bool {
    let told = notification.from.is_some() && notification.event.text().is_some();
    notification.alert.is_none() && notification.badge.is_some() && !told
}

fn toast<'a>(fields: &Fields<'a>) -> ToastLook<'a> {
    let notification = fields.notification;
    let alert = notification.alert.as_ref().filter(|_| !fields.hide_content);
    let title = alert
        .and_then(|alert| alert.title.as_deref())
        .or_else(|| sender(notification));
    let body = alert.and_then(|alert| alert.body.as_deref());
    ToastLook {
        text1: title.map(clean).unwrap_or_default(),
        text2: body
            .map(clean)
            .or_else(|| notification.event.text().map(Cow::Borrowed))
            .unwrap_or_default(),
        param: notification
            .windows_phone
            .param
            .as_deref()
            .map(Cow::Borrowed),
    }
}

/// The sender's tile of 7.1; its texts are the sender's words.
fn tile<'a>(fields: &Fields<'a>) -> TileLook<'a> {
    let none = const { &Tile::NONE };
    let notification = fields.notification;
    let tile = notification.windows_phone.tile.as_ref().unwrap_or(none);
    let text = |text: &'a Option<Box<str>>| text.as_deref().filter(|_| !fields.hide_content);
    let picture = |name: &'a Option<Box<str>>| name.as_deref().map(Cow::Borrowed);
    let elements = [
        (TileElement::BackgroundImage, picture(&tile.background)),
        (
            TileElement::Count,
            tile.count.or(notification.badge).map(count),
        ),
        (TileElement::Title, text(&tile.title).map(clean)),
        (
            TileElement::BackBackgroundImage,
            picture(&tile.back_background),
        ),
        (TileElement::BackTitle, text(&tile.back_title).map(clean)),
        (
            TileElement::BackContent,
            text(&tile.back_content).map(clean),
        ),
    ];
    TileLook {
        style: TileStyle::Plain,
        id: tile.id.as_deref().map(Cow::Borrowed),
        elements: elements
            .into_iter()
            .filter_map(|(element, text)| Some((element, text?)))
            .collect(),
    }
}

/// `wp:Count`: nothing clears, and a tile shows 99 at most.
fn count(number: u32) -> Cow<'static, str> {
    match number {
        0 => Cow::Borrowed(""),
        number => Cow::Owned(number.min(99).to_string()),
    }
}

impl ToastTemplate {
    fn fill<'a>(&'a self, fields: &Fields<'a>) -> ToastLook<'a> {
        let mut look = toast(fields);
        if let Some(text1) = &self.text1 {
            look.text1 = text1.render(fields);
        }
        if let Some(text2) = &self.text2 {
            look.text2 = text2.render(fields);
        }
        if let Some(param) = &self.param {
            look.param = Some(param.render(fields)).filter(|param| is_page(param));
        }
        look
    }
}

impl TileTemplate {
    fn fill<'a>(&'a self, fields: &Fields<'a>) -> TileLook<'a> {
        let id = self.id.as_ref().map(|id| id.render(fields));
        let elements = self.elements.iter().filter_map(|(element, template)| {
            let text = template.render(fields);
            let text = match element {
                // What is no number says nothing about the count.
                TileElement::Count if !text.is_empty() => count(text.trim().parse().ok()?),
                _ => text,
            };
            Some((*element, text))
        });
        TileLook {
            style: self.style,
            id: id.filter(|id| is_page(id)),
            elements: elements.collect(),
        }
    }
}

/// Whether a text can name a page of the app.
fn is_page(text: &str) -> bool {
    text.starts_with('/') && text.chars().count() <= 256
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::event::Event;
    use crate::fixture::notification;
    use crate::notification::WindowsPhone;

    fn look<'a>(
        notification: &'a Notification,
        template: Option<&'a PhoneTemplate>,
        hide_content: bool,
    ) -> PhoneLook<'a> {
        let fields = Fields {
            notification,
            target: &notification.targets[0],
            hide_content,
        };
        PhoneLook::of(&fields, template)
    }

    fn text(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn a_toast_has_the_senders_words_or_says_what_happened() {
        let mut notification = notification();
        let toast = |notification: &Notification, hide| match look(notification, None, hide).shown {
            Shown::Toast(toast) => (toast.text1.into_owned(), toast.text2.into_owned()),
            other => panic!("{other:?}"),
        };
        let both = |one: &str, two: &str| (one.to_owned(), two.to_owned());
        assert_eq!(toast(&notification, false), both("Kim", "Are you there?"));
        assert_eq!(toast(&notification, true), both("Kim Akers", "New message"));
        notification.alert = None;
        notification.event = Event::VoicemailNew;
        assert_eq!(
            toast(&notification, false),
            both("Kim Akers", "New voice mail")
        );
    }

    #[test]
    fn a_number_alone_is_a_tile() {
        let mut notification = notification();
        notification.alert = None;
        notification.event = Event::BadgeUpdate;
        let Shown::Tile(tile) = look(&notification, None, false).shown else {
            panic!("expected a tile")
        };
        assert_eq!(tile.elements, [(TileElement::Count, "3".into())]);
    }

    #[test]
    fn hidden_bytes_go_as_a_toast() {
        let mut notification = notification();
        notification.windows_phone = WindowsPhone {
            kind: MpnsKind::Raw,
            raw: Some("<secret/>".into()),
            ..WindowsPhone::default()
        };
        assert_eq!(
            look(&notification, None, false).shown,
            Shown::Raw("<secret/>".into())
        );
        assert!(matches!(
            look(&notification, None, true).shown,
            Shown::Toast(_)
        ));
    }

    #[test]
    fn a_tile_goes_before_a_toast_and_alone_it_is_what_counts() {
        let notification = notification();
        let tile = TileTemplate {
            style: TileStyle::Iconic,
            id: Some(text("no page")),
            elements: vec![
                (TileElement::WideContent1, text("{from.name}")),
                (TileElement::WideContent2, text("{alert.subtitle}")),
                (TileElement::Count, text("{badge}")),
            ],
        };
        let mut template = PhoneTemplate {
            tile: Some(tile),
            toast: Some(ToastTemplate {
                text2: Some(text("{event.text}")),
                param: Some(text("/Chat.xaml?c={thread}")),
                ..ToastTemplate::default()
            }),
            delay: Some(Delay::Within450Seconds),
            ..PhoneTemplate::default()
        };
        let both = look(&notification, Some(&template), false);
        assert_eq!(both.delay, Delay::Within450Seconds);
        let parts: Vec<_> = both.parts().collect();
        let filled = TileLook {
            style: TileStyle::Iconic,
            id: None,
            elements: vec![
                (TileElement::WideContent1, "Kim Akers".into()),
                (TileElement::WideContent2, "".into()),
                (TileElement::Count, "3".into()),
            ],
        };
        let toast = ToastLook {
            text1: "Kim".into(),
            text2: "New message".into(),
            param: Some("/Chat.xaml?c=conv-42".into()),
        };
        assert_eq!(parts, [Shown::Tile(filled.clone()), Shown::Toast(toast)]);
        template.toast = None;
        let alone: Vec<_> = look(&notification, Some(&template), false)
            .parts()
            .collect();
        assert_eq!(alone, [Shown::Tile(filled)]);
    }

    #[test]
    fn a_count_that_is_no_number_says_nothing_and_99_is_the_most() {
        let notification = notification();
        let counted = |template: &str| {
            let template = PhoneTemplate {
                tile: Some(TileTemplate {
                    style: TileStyle::Plain,
                    id: None,
                    elements: vec![(TileElement::Count, text(template))],
                }),
                ..PhoneTemplate::default()
            };
            match look(&notification, Some(&template), false).shown {
                Shown::Tile(tile) => tile
                    .elements
                    .first()
                    .map(|(_, count)| count.clone().into_owned()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(counted("{badge}").as_deref(), Some("3"));
        assert_eq!(counted("{badge}00").as_deref(), Some("99"));
        assert_eq!(counted("0").as_deref(), Some(""));
        assert_eq!(counted("{alert.subtitle}").as_deref(), Some(""));
        assert_eq!(counted("many"), None);
    }

    #[test]
    fn every_element_belongs_to_a_style_and_has_a_key_of_its_own() {
        for element in TileElement::ALL {
            assert!(
                TileStyle::ALL
                    .iter()
                    .any(|style| style.elements().contains(element))
            );
            let same = TileElement::ALL
                .iter()
                .filter(|other| other.key() == element.key());
            assert_eq!(same.count(), 1, "{element:?}");
        }
    }
}
