//! Patterns of names that tell a place: `r{rack}-s{slot}`.

use crate::location::Place;
use crate::{Error, field};

/// Text with fields in braces; a field matches decimal digits. Leading zeros and
/// the case of letters do not matter: operators pad (`r050`) and firmware shouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Braces that do not match, a field without a name, no field at all, or a
    /// field that a digit or another field follows: nobody could tell where the
    /// number ends.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Pattern {
            pattern: text.to_owned(),
            why,
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some(open) = rest.find(['{', '}']) else {
                parts.push(Part::Literal(rest.to_owned()));
                break;
            };
            if open > 0 {
                parts.push(Part::Literal(rest[..open].to_owned()));
            }
            let (name, after) = rest[open..]
                .strip_prefix('{')
                .and_then(|field| field.split_once('}'))
                .ok_or_else(|| bad("its braces do not match"))?;
            if !field::is_name(name) {
                return Err(bad(field::NAME));
            }
            if after.starts_with(|c: char| c == '{' || c.is_ascii_digit()) {
                return Err(bad(
                    "a field needs something behind it that is not a digit or a field",
                ));
            }
            parts.push(Part::Field(name.to_owned()));
            rest = after;
        }
        match parts.iter().any(|part| matches!(part, Part::Field(_))) {
            true => Ok(Pattern {
                text: text.to_owned(),
                parts,
            }),
            false => Err(bad("it has no field such as {rack}")),
        }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place that `name` tells; `whose` name it is, for the error.
    ///
    /// # Errors
    /// [`Error::NoMatch`]; also when a field stands twice and is told twice
    /// differently.
    pub fn place_in(&self, name: &str, whose: &str) -> Result<Place, Error> {
        self.matched(name).ok_or_else(|| Error::NoMatch {
            whose: whose.to_owned(),
            found: name.to_owned(),
            pattern: self.text.clone(),
        })
    }

    /// A name of which the pattern tells this place, without leading zeros; none when
    /// the place lacks a field.
    pub fn fill(&self, place: &Place) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Literal(text) => Some(text.clone()),
            Part::Field(field) => Some(place.get(field)?.to_string()),
        };
        self.parts.iter().map(part).collect()
    }

    fn matched(&self, name: &str) -> Option<Place> {
        let mut place = Place::default();
        let mut rest = name;
        for part in &self.parts {
            rest = match part {
                Part::Literal(literal) => {
                    let (start, after) = rest.split_at_checked(literal.len())?;
                    start.eq_ignore_ascii_case(literal).then_some(after)?
                }
                Part::Field(field) => {
                    let end = rest
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(rest.len());
                    let (digits, after) = rest.split_at(end);
                    place.agree(field, digits.parse().ok()?).then_some(after)?
                }
            };
        }
        rest.is_empty().then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_is_told() {
        let pattern = Pattern::parse("r{rack}-s{slot}.dc").unwrap();
        let place = pattern.place_in("R050-s011.dc", "").unwrap();
        assert_eq!(pattern.fill(&place).as_deref(), Some("r50-s11.dc"));
        assert_eq!(pattern.fill(&Place::default()), None);
    }

    fn told(pattern: &str, name: &str) -> Option<String> {
        let pattern = Pattern::parse(pattern).unwrap();
        pattern
            .place_in(name, "x")
            .ok()
            .map(|place| place.to_string())
    }

    #[test]
    fn names_that_match() {
        assert_eq!(
            told("r{rack}-s{slot}", "r50-s11").unwrap(),
            "rack=50 slot=11"
        );
        assert_eq!(
            told("R{rack}-S{slot}", "r050-s00").unwrap(),
            "rack=50 slot=0"
        );
        assert_eq!(told("{n}", "7").unwrap(), "n=7");
        assert_eq!(
            told("r{rack}.{x}.r{rack}", "r1.2.r1").unwrap(),
            "rack=1 x=2"
        );
        assert_eq!(told("größe{n}", "größe4").unwrap(), "n=4");
    }

    #[test]
    fn names_that_do_not() {
        for (pattern, name) in [
            ("r{rack}", "r"),
            ("r{rack}", ""),
            ("r{rack}", "r5x"),
            ("r{rack}", "r-5"),
            ("r{rack}-s{slot}", "r5-s"),
            ("r{rack}.r{rack}", "r1.r2"),
            ("r{rack}", "r99999999999999999999"),
            ("ab{n}", "ä1"),
        ] {
            assert_eq!(told(pattern, name), None, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_are_none() {
        for wrong in [
            "", "rack", "{", "}", "a}b{n}", "{a{b}}", "{}", "{a b}", "{a}{b}", "{a}1", "{a:8}",
        ] {
            let error = Pattern::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{wrong}\"")), "{error}");
        }
    }
}
