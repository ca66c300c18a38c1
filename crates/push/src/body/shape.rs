//! The shape of the model as a table: which members there are, and what each holds. What is not JSON is brought into it.

/// What stands under a name.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// Members of known names.
    Object(&'static [Item]),
    /// Elements of one shape.
    List {
        /// What one of them is called where they have names.
        item: &'static str,
        /// What each of them is.
        shape: &'static Shape,
    },
    /// Members of any name and shape.
    Any,
}

/// A member.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

const fn item(name: &'static str, shape: Shape) -> Item {
    Item { name, shape }
}

/// The body.
pub(super) const ROOT: Shape = Shape::Object(&[
    item("v", Shape::Integer),
    item("id", Shape::Text),
    item("created", Shape::Text),
    item("ttl", Shape::Integer),
    item("event", Shape::Text),
    item(
        "targets",
        Shape::List {
            item: "target",
            shape: &TARGET,
        },
    ),
    item(
        "from",
        Shape::Object(&[item("uri", Shape::Text), item("name", Shape::Text)]),
    ),
    item(
        "alert",
        Shape::Object(&[
            item("title", Shape::Text),
            item("subtitle", Shape::Text),
            item("body", Shape::Text),
            item("loc_key", Shape::Text),
            item(
                "loc_args",
                Shape::List {
                    item: "arg",
                    shape: &Shape::Text,
                },
            ),
        ]),
    ),
    item("badge", Shape::Integer),
    item("sound", Shape::Text),
    item("thread", Shape::Text),
    item("collapse", Shape::Text),
    item(
        "mpns",
        Shape::Object(&[
            item("kind", Shape::Text),
            item("param", Shape::Text),
            item("delay", Shape::Text),
            item("tile", TILE),
            item("raw", Shape::Text),
        ]),
    ),
    item("data", Shape::Any),
]);

const TARGET: Shape = Shape::Object(&[
    item("service", Shape::Text),
    item("token", Shape::Text),
    item("uri", Shape::Text),
    item("app", Shape::Text),
    item("env", Shape::Text),
    item("registered", Shape::Text),
]);

const TILE: Shape = Shape::Object(&[
    item("id", Shape::Text),
    item("background", Shape::Text),
    item("count", Shape::Integer),
    item("title", Shape::Text),
    item("back_background", Shape::Text),
    item("back_title", Shape::Text),
    item("back_content", Shape::Text),
]);

impl Shape {
    /// The shape of the member under this name.
    pub(super) fn member(&self, name: &str) -> Option<&'static Shape> {
        match self {
            Shape::Object(items) => items
                .iter()
                .find(|item| item.name == name)
                .map(|item| &item.shape),
            _ => None,
        }
    }
}

/// The names of all members that hold a text or a number, in the way of [`Place`](super::place::Place).
pub(super) fn leaves() -> Vec<String> {
    let mut names = Vec::new();
    collect(&ROOT, "", &mut names);
    names
}

fn collect(shape: &Shape, name: &str, names: &mut Vec<String>) {
    match shape {
        Shape::Text | Shape::Integer | Shape::Any => names.push(name.to_owned()),
        Shape::Object(items) => {
            for item in *items {
                let dot = if name.is_empty() { "" } else { "." };
                collect(&item.shape, &format!("{name}{dot}{}", item.name), names);
            }
        }
        Shape::List { shape, .. } => collect(shape, &format!("{name}[0]"), names),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::body::model::{self, Nulls};
    use crate::channel::ChannelPolicy;
    use serde_json::{Map, Value, json};

    /// Both ways: each leaf of the table is a member that the model judges, and each member of the model is in the table.
    #[test]
    fn the_table_holds_the_members_of_the_model_and_no_others() {
        for leaf in leaves() {
            let mut tree = json!({"v": 1, "event": "test", "targets": [{
                "service": if leaf.ends_with(".uri") { "mpns" } else { "apns" }, "token": "00112233",
                "uri": "http://s.notify.live.net/throttledthirdparty/x"}]});
            let mut at = &mut tree;
            for step in leaf.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
                at = match step {
                    "0" => {
                        if !at.is_array() {
                            *at = json!([null]);
                        }
                        &mut at[0]
                    }
                    name => {
                        if !at.is_object() {
                            *at = Value::Object(Map::new());
                        }
                        &mut at[name]
                    }
                };
            }
            *at = json!(true);
            let error = model::notification_of(&tree, &ChannelPolicy::default(), Nulls::Refused)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("{leaf}: ")), "{leaf}: {error}");
        }
        let source = include_str!("model.rs");
        let (structs, _) = source.split_once("/// The most devices").unwrap();
        let members = structs
            .lines()
            .filter_map(|line| line.trim().split_once(": Member<"))
            .count();
        let leaves = leaves().len();
        // Objects and lists are members that are no leaves: targets, from, alert, loc_args is its own leaf, mpns, tile.
        assert_eq!(members, leaves + 5);
    }
}
