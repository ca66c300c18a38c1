//! The page that draws what the phones show: near enough to judge a template, not to the pixel.
//!
//! It loads nothing and runs nothing. Whatever a body, a template or a file says stands on it as text.

use std::borrow::Cow;
use std::fmt::{self, Write};

use pushrelay_push::present::{PhoneLook, Shown, TileElement, TileLook, TileStyle, ToastLook};
use serde_json::Value;

use super::{Becomes, Judged, Preview, readable};
use crate::page::Escaped;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>pushrelay preview</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1b1b1b;background:#f1f3f6}
h1{font-size:1.35rem}h2{font-size:1rem;margin:2.2rem 0 .6rem;overflow-wrap:anywhere}p{margin:.4rem 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#fff;border:1px solid #d8dde3;border-radius:6px;padding:.7rem 1rem;font-size:12.5px}
.row{display:flex;gap:1.2rem;align-items:flex-start;flex-wrap:wrap}
figure{margin:0}body>figure{margin:.6rem 0}figcaption,.note{font-size:.8rem;color:#5a636e;margin-top:.35rem;max-width:24rem;overflow-wrap:anywhere}
.one,.four{overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;overflow-wrap:anywhere;white-space:pre-line;-webkit-line-clamp:1}
.four{-webkit-line-clamp:4}
.lock{width:24rem;max-width:100%;box-sizing:border-box;padding:1.6rem .7rem;border-radius:24px;background:linear-gradient(165deg,#3a4f7a,#7a5a86 55%,#c98a7a)}
.banner{display:flex;gap:.65rem;align-items:center;background:#f4f5f7e6;border-radius:18px;padding:.7rem .8rem;font-size:.92rem;line-height:1.28;color:#111}
.icon{position:relative;flex:none;width:2.5rem;height:2.5rem;border-radius:.6rem;background:linear-gradient(160deg,#4aa3ff,#1763d6);color:#fff;text-align:center;font-size:1.2rem;line-height:2.5rem;font-weight:600}
.words{min-width:0;flex:1}.words .bold{font-weight:600}.words p{margin:0}.when{float:right;margin-left:.5rem;color:#727983;font-size:.8rem}
.level{font-size:.7rem;letter-spacing:.04em;color:#5b616b;text-transform:uppercase}.key{font-style:italic}
.home{width:8rem;padding:1.2rem 0 .6rem;border-radius:24px;background:linear-gradient(165deg,#3a4f7a,#7a5a86);text-align:center;color:#fff;font-size:.75rem}
.home .icon{width:3.75rem;height:3.75rem;line-height:3.75rem;font-size:1.8rem;border-radius:.9rem;margin:0 auto .35rem}
.badge{position:absolute;top:-.5rem;right:-.5rem;min-width:1.5rem;box-sizing:border-box;height:1.5rem;padding:0 .35rem;border-radius:.75rem;background:#eb3b30;font:400 .95rem/1.5rem system-ui,sans-serif}
.phone{width:26rem;max-width:100%;box-sizing:border-box;background:#000;padding:0 0 5rem}
.toast{display:flex;gap:.6rem;background:#1ba1e2;color:#fff;padding:.55rem .7rem;font:1rem/1.4 "Segoe UI","Open Sans",system-ui,sans-serif}
.toast i{flex:none;width:1.4rem;height:1.4rem;background:#fff5}.toast p{margin:0;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.start{background:#000;padding:.6rem;width:fit-content;max-width:100%;box-sizing:border-box;display:flex;gap:.6rem;flex-wrap:wrap;align-items:flex-start}
.start figcaption{color:#b5bcc4;max-width:9.6rem}.start figure.w figcaption{max-width:19.8rem}
.tile{position:relative;box-sizing:border-box;width:9.6rem;height:9.6rem;padding:.45rem .55rem;background:#1ba1e2;color:#fff;overflow:hidden;font:.95rem/1.25 "Segoe UI","Open Sans",system-ui,sans-serif}
.tile.w{width:19.8rem}.tile.s{width:4.5rem;height:4.5rem;padding:.2rem}
.tile p{margin:0}.tile .name{position:absolute;left:.55rem;right:.55rem;bottom:.35rem;font-size:.85rem}
.art{font-size:.68rem;opacity:.8}.tile .big{font-size:1.25rem;line-height:1.2}
.count{position:absolute;right:.4rem;top:.4rem;min-width:1.7rem;box-sizing:border-box;height:1.7rem;padding:0 .35rem;border-radius:.85rem;border:2px solid #fff;text-align:center;line-height:1.45rem}
.beside{position:absolute;left:0;right:0;top:28%;text-align:center;font-size:2.6rem;font-weight:300;line-height:1}.w .beside{left:auto;right:.7rem;top:auto;bottom:.7rem;font-size:2rem}.s .beside{font-size:1.5rem}
.glyph{display:inline-block;width:.85em;height:.72em;border:.09em solid #fff;border-radius:.15em;vertical-align:-.04em;margin-right:.25em}
</style></head><body>
"#;

/// The whole page.
pub(super) fn draw(judged: &Judged<'_>) -> String {
    let mut page = String::from(HEAD);
    // Writing to a String cannot fail.
    let _ = write_body(&mut page, judged);
    page.push_str("</body></html>\n");
    page
}

fn write_body(page: &mut String, judged: &Judged<'_>) -> fmt::Result {
    let event = judged.targets.first();
    let event = event.map_or("nothing", |target| target.push.notification.event.name());
    writeln!(page, "<h1>What the phones show: {}</h1>", Escaped(event))?;
    page.push_str(
        "<p>An approximation, drawn from the requests below. Fonts, line breaks, languages and settings of a real phone differ; \
         pictures, sounds and translations are the app's own and only named here. Nothing was sent.</p>\n",
    );
    if let Some(partner) = judged.partner {
        writeln!(page, "<p>From partner {}.</p>", Escaped(partner))?;
    }
    for target in &judged.targets {
        writeln!(
            page,
            "<h2 dir=\"auto\">{}</h2>",
            Escaped(&target.headline())
        )?;
        match &target.becomes {
            Ok(Becomes::Apple(request)) => match serde_json::from_str(request.body()) {
                Ok(_) if request.header("apns-push-type") == Some("voip") => page.push_str(
                    "<p class=\"note\">A VoIP push: the app is woken and shows the call itself.</p>\n",
                ),
                Ok(payload) => iphone(page, target, &payload)?,
                Err(error) => writeln!(page, "<p>{}</p>", Escaped(&error.to_string()))?,
            },
            Ok(Becomes::WindowsPhone(_, look)) => windows_phone(page, look)?,
            Err(_) => {}
        }
        for request in target.requests() {
            let text = readable(&request.to_string());
            writeln!(page, "<pre>{}</pre>", Escaped(&text))?;
        }
    }
    writeln!(
        page,
        "<h2>The sender</h2><pre>{}</pre>",
        Escaped(&readable(&judged.answer_text()))
    )
}

fn iphone(page: &mut String, target: &Preview<'_>, payload: &Value) -> fmt::Result {
    let aps = &payload["aps"];
    let app = target.app.unwrap_or("app");
    let name = app.strip_suffix(".voip").unwrap_or(app);
    let name = name.rsplit('.').next().unwrap_or(name);
    let letter = name
        .chars()
        .next()
        .unwrap_or('?')
        .to_uppercase()
        .to_string();
    page.push_str("<div class=\"row\">\n");
    if aps["alert"].is_object() {
        banner(page, aps, &letter)?;
    }
    if let Some(number) = aps["badge"].as_u64() {
        write!(
            page,
            "<figure><div class=\"home\"><div class=\"icon\">{}",
            Escaped(&letter)
        )?;
        if number > 0 {
            write!(page, "<span class=\"badge\">{number}</span>")?;
        }
        write!(page, "</div>{}</div>", Escaped(name))?;
        let told = if number > 0 {
            ""
        } else {
            ": the number goes away"
        };
        writeln!(
            page,
            "<figcaption>The app's icon{told}</figcaption></figure>"
        )?;
    }
    page.push_str("</div>\n");
    let heard = aps["sound"].as_str();
    if let Some(sound) = heard {
        writeln!(page, "<p class=\"note\">Sound: {}</p>", Escaped(sound))?;
    }
    if !aps["alert"].is_object() {
        let told = match (aps["badge"].is_null(), heard) {
            (true, None) => "Nothing is shown: the app is woken and decides by itself.",
            _ => "No banner: there is no text.",
        };
        writeln!(page, "<p class=\"note\">{told}</p>")?;
    }
    Ok(())
}

fn banner(page: &mut String, aps: &Value, letter: &str) -> fmt::Result {
    let alert = &aps["alert"];
    write!(
        page,
        "<figure><div class=\"lock\"><div class=\"banner\"><div class=\"icon\">{}</div><div class=\"words\"><span class=\"when\">now</span>",
        Escaped(letter)
    )?;
    if let Some(level) = aps["interruption-level"]
        .as_str()
        .filter(|level| *level != "active")
    {
        write!(
            page,
            "<p class=\"level\">{}</p>",
            Escaped(&level.replace('-', " "))
        )?;
    }
    for (class, text, translated) in [
        (
            "one bold",
            "title",
            Some(("title-loc-key", "title-loc-args")),
        ),
        ("one bold", "subtitle", None),
        ("four", "body", Some(("loc-key", "loc-args"))),
    ] {
        let translated =
            translated.and_then(|(key, args)| Some((alert[key].as_str()?, &alert[args])));
        let (face, line) = match (translated, alert[text].as_str()) {
            (Some((key, args)), _) => (" key", Cow::Owned(translation(key, args))),
            (None, Some(line)) => ("", Cow::Borrowed(line)),
            (None, None) => continue,
        };
        let line = Escaped(&line);
        write!(page, "<p class=\"{class}{face}\" dir=\"auto\">{line}</p>")?;
    }
    page.push_str("</div></div></div><figcaption>The banner on a locked screen");
    let is_translated = ["title-loc-key", "loc-key"]
        .iter()
        .any(|key| alert[*key].is_string());
    if is_translated {
        page.push_str("; in italics: a key into the app's translations, and what fills it");
    }
    page.push_str("</figcaption></figure>\n");
    Ok(())
}

/// `MISSED_FROM: “Kim Akers”, “3”`
fn translation(key: &str, args: &Value) -> String {
    let args = args
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let args: Vec<String> = args
        .map(|arg| format!("\u{201c}\u{2068}{arg}\u{2069}\u{201d}"))
        .collect();
    let colon = if args.is_empty() { "" } else { ": " };
    format!("{key}{colon}{}", args.join(", "))
}

fn windows_phone(page: &mut String, look: &PhoneLook<'_>) -> fmt::Result {
    if let Some(look) = &look.before {
        tile(page, look)?;
    }
    match &look.shown {
        Shown::Tile(look) => tile(page, look),
        Shown::Toast(look) => toast(page, look),
        Shown::Raw(_) => {
            page.push_str("<p class=\"note\">Raw bytes for the app if it runs: the phone shows nothing.</p>\n");
            Ok(())
        }
    }
}

fn toast(page: &mut String, look: &ToastLook<'_>) -> fmt::Result {
    write!(
        page,
        "<figure><div class=\"phone\"><div class=\"toast\"><i></i><p dir=\"auto\"><b>{}</b> <bdi>{}</bdi></p></div></div><figcaption>The toast",
        Escaped(&look.text1),
        Escaped(&look.text2)
    )?;
    if let Some(param) = look.param.as_deref().filter(|param| !param.is_empty()) {
        write!(page, "; a tap opens {}", Escaped(param))?;
    }
    page.push_str("</figcaption></figure>\n");
    Ok(())
}

/// Every side and size that something was said of.
fn tile(page: &mut String, look: &TileLook<'_>) -> fmt::Result {
    use TileElement as E;
    let tile = Tile { look };
    page.push_str("<figure><div class=\"start\">\n");
    match look.style {
        TileStyle::Plain | TileStyle::Flip => {
            if tile.has(&[E::SmallBackgroundImage]) {
                tile.side(page, "s", "small", &[E::SmallBackgroundImage], &[], None)?;
            }
            tile.side(
                page,
                "",
                "front",
                &[E::BackgroundImage],
                &[],
                Some(E::Title),
            )?;
            if tile.has(&[E::BackBackgroundImage, E::BackTitle, E::BackContent]) {
                let back = [E::BackBackgroundImage];
                tile.back(page, "", "back", &back, E::BackContent)?;
            }
            if tile.has(&[E::WideBackgroundImage]) {
                let front = [E::WideBackgroundImage];
                tile.side(page, "w", "wide front", &front, &[], Some(E::Title))?;
            }
            if tile.has(&[E::WideBackBackgroundImage, E::WideBackContent]) {
                let back = [E::WideBackBackgroundImage];
                tile.back(page, "w", "wide back", &back, E::WideBackContent)?;
            }
        }
        TileStyle::Iconic => {
            let lines = [E::WideContent1, E::WideContent2, E::WideContent3];
            if tile.has(&[E::SmallIconImage]) {
                tile.side(page, "s", "small", &[], &[], None)?;
            }
            tile.side(page, "", "medium", &[], &[], Some(E::Title))?;
            if tile.has(&lines) {
                tile.side(page, "w", "wide", &[], &lines, Some(E::Title))?;
            }
        }
        TileStyle::Cycle => {
            let pictures = look.style.elements().iter().copied();
            let pictures: Vec<E> = pictures
                .filter(|element| element.key().starts_with("cycle_image"))
                .collect();
            if tile.has(&[E::SmallBackgroundImage]) {
                tile.side(page, "s", "small", &[E::SmallBackgroundImage], &[], None)?;
            }
            tile.side(
                page,
                "",
                "its pictures in turn",
                &pictures,
                &[],
                Some(E::Title),
            )?;
        }
    }
    page.push_str("</div><figcaption>");
    tile.caption(page)?;
    page.push_str("</figcaption></figure>\n");
    Ok(())
}

struct Tile<'a> {
    look: &'a TileLook<'a>,
}

impl Tile<'_> {
    /// What an element says, if it says anything.
    fn text(&self, element: TileElement) -> Option<&str> {
        let mut elements = self.look.elements.iter();
        let (_, text) = elements.find(|(other, _)| *other == element)?;
        Some(&**text).filter(|text| !text.is_empty())
    }

    fn has(&self, elements: &[TileElement]) -> bool {
        elements.iter().any(|element| self.text(*element).is_some())
    }

    /// A front: names of pictures, lines of text, the number, the title.
    fn side(
        &self,
        page: &mut String,
        size: &str,
        caption: &str,
        pictures: &[TileElement],
        lines: &[TileElement],
        title: Option<TileElement>,
    ) -> fmt::Result {
        self.open(page, size, pictures)?;
        for (at, line) in lines.iter().enumerate() {
            let class = if at == 0 { "one big" } else { "one" };
            self.paragraph(page, class, *line)?;
        }
        let count = self.text(TileElement::Count);
        match (self.look.style, count) {
            (TileStyle::Iconic, count) => {
                let count = Escaped(count.unwrap_or_default());
                write!(
                    page,
                    "<div class=\"beside\"><span class=\"glyph\"></span>{count}</div>"
                )?;
            }
            (_, Some(count)) => write!(page, "<span class=\"count\">{}</span>", Escaped(count))?,
            (_, None) => {}
        }
        if let Some(title) = title {
            self.paragraph(page, "one name", title)?;
        }
        writeln!(page, "</div><figcaption>{caption}</figcaption></figure>")
    }

    /// A back: names of pictures, the text, the title.
    fn back(
        &self,
        page: &mut String,
        size: &str,
        caption: &str,
        pictures: &[TileElement],
        content: TileElement,
    ) -> fmt::Result {
        self.open(page, size, pictures)?;
        self.paragraph(page, "four", content)?;
        self.paragraph(page, "one name", TileElement::BackTitle)?;
        writeln!(page, "</div><figcaption>{caption}</figcaption></figure>")
    }

    fn open(&self, page: &mut String, size: &str, pictures: &[TileElement]) -> fmt::Result {
        let color = self.text(TileElement::BackgroundColor).and_then(color);
        let style = color
            .map(|color| format!(" style=\"background:{color}\""))
            .unwrap_or_default();
        write!(
            page,
            "<figure class=\"{size}\"><div class=\"tile {size}\"{style}>"
        )?;
        for picture in pictures {
            self.paragraph(page, "one art", *picture)?;
        }
        Ok(())
    }

    fn paragraph(&self, page: &mut String, class: &str, element: TileElement) -> fmt::Result {
        match self.text(element) {
            Some(text) => write!(
                page,
                "<p class=\"{class}\" dir=\"auto\">{}</p>",
                Escaped(text)
            ),
            None => Ok(()),
        }
    }

    /// Which tile it is, and what is taken away from it.
    fn caption(&self, page: &mut String) -> fmt::Result {
        let style = self.look.style.template().unwrap_or("of Windows Phone 7.1");
        write!(page, "The tile, {style}")?;
        match self.look.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => write!(page, ", pinned for {}", Escaped(id))?,
            None => page.push_str(", the app's own"),
        }
        let cleared = self
            .look
            .elements
            .iter()
            .filter(|(_, text)| text.is_empty());
        let cleared: Vec<&str> = cleared.map(|(element, _)| element.xml()).collect();
        if !cleared.is_empty() {
            write!(page, "; cleared: {}", cleared.join(", "))?;
        }
        page.push_str("; what is not named stays as it is on the phone");
        Ok(())
    }
}

/// `#AARRGGBB` as CSS has it; nothing for anything else.
fn color(text: &str) -> Option<String> {
    let digits = text.strip_prefix('#')?;
    let is_color = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_color.then(|| format!("#{}{}", &digits[2..], &digits[..2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_color_becomes_one() {
        assert_eq!(color("#80FF0001").as_deref(), Some("#FF000180"));
        for text in [
            "red",
            "#fff",
            "#FF0000;x:url(y)",
            "#1234567\u{e9}",
            "12345678",
        ] {
            assert_eq!(color(text), None, "{text}");
        }
    }
}
