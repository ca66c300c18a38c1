//! What a Prometheus endpoint says, as values.

use std::collections::BTreeMap;
use std::fmt;

/// The samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

/// One line of the exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` where it is a histogram's.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Samples {
    /// Reads the text exposition format 0.0.4; the error quotes the line.
    pub fn parse(text: &str) -> Result<Samples, String> {
        let lines = text.lines().map(str::trim);
        let samples = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parsed =
            samples.map(|line| Sample::parse(line).ok_or_else(|| format!("no sample: {line}")));
        parsed.collect::<Result<_, _>>().map(Samples)
    }

    /// The one sample of this name with exactly these labels.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let exactly = |sample: &&Sample| sample.labels.len() == labels.len();
        self.having(name, labels)
            .find(exactly)
            .map(|sample| sample.value)
    }

    /// The sum of all samples of this name that have these labels, whatever others they have.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.having(name, labels).map(|sample| sample.value).sum()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter()
    }

    fn having<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = move |sample: &&Sample| {
            let same =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|v| v == value);
            sample.name == name && labels.iter().all(same)
        };
        self.0.iter().filter(has)
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Sample> {
        let name_end = line.find(['{', ' ', '\t'])?;
        let name = line[..name_end].to_owned();
        let mut labels = BTreeMap::new();
        let mut rest = &line[name_end..];
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                rest = rest.trim_start_matches([',', ' ']);
                if let Some(after) = rest.strip_prefix('}') {
                    rest = after;
                    break;
                }
                let (key, after) = rest.split_once("=\"")?;
                let (value, after) = unescape(after)?;
                labels.insert(key.trim().to_owned(), value);
                rest = after;
            }
        }
        let value = match rest.split_whitespace().next()? {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().ok()?,
        };
        Some(Sample {
            name,
            labels,
            value,
        })
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sample in &self.0 {
            writeln!(f, "{}{:?} {}", sample.name, sample.labels, sample.value)?;
        }
        Ok(())
    }
}

/// A label's value up to its closing quote, and what follows.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_exposition_is_read_with_its_escapes() {
        let samples = Samples::parse(concat!(
            "# HELP a_total what it is\n",
            "# TYPE a_total counter\n",
            "a_total 3\n",
            "b{x=\"1\",y=\"two words, } and \\\"quotes\\\" \\\\ \\n\"} 1.5 1700000000000\n",
            "b{x=\"2\",y=\"\",} 2e3\n",
            "h_bucket{le=\"+Inf\"} +Inf\n",
        ))
        .unwrap();
        assert_eq!(samples.get("a_total", &[]), Some(3.0));
        let y = "two words, } and \"quotes\" \\ \n";
        assert_eq!(samples.get("b", &[("x", "1"), ("y", y)]), Some(1.5));
        assert_eq!(samples.get("b", &[("x", "1")]), None);
        assert_eq!(samples.sum("b", &[]), 2001.5);
        assert_eq!(samples.sum("b", &[("x", "2")]), 2000.0);
        assert_eq!(
            samples.get("h_bucket", &[("le", "+Inf")]),
            Some(f64::INFINITY)
        );
        assert_eq!(samples.sum("c", &[]), 0.0);
    }

    #[test]
    fn a_line_that_is_no_sample_is_named() {
        for line in ["a", "a{b} 1", "a{b=\"c} 1", "a x"] {
            let error = Samples::parse(line).unwrap_err();
            assert!(error.contains(line), "{error}");
        }
    }
}
