//! How templates are written: octets and groups, of digits or of fields.

use super::Field;
use crate::family::Family;
use crate::{Error, field};

/// Reads `address`, which has fields; `text` is the whole template, for errors.
/// Gives the address with all fields zero, and the fields.
pub(super) fn read(address: &str, text: &str) -> Result<(Family, u128, Vec<Field>), Error> {
    let (family, parts) = split(address, text)?;
    let mut parser = Parser::new(family, text);
    for part in parts {
        parser.part(part)?;
    }
    Ok((family, parser.literal, parser.fields))
}

/// Splits a template into its four octets or eight groups. Braces may hold a
/// `:`, which separates nothing.
fn split<'a>(address: &'a str, text: &str) -> Result<(Family, Vec<&'a str>), Error> {
    let mut parts = Vec::with_capacity(9);
    let mut separator = None;
    let (mut start, mut inside) = (0, false);
    for (at, c) in address.char_indices() {
        match (c, inside) {
            ('{', false) | ('}', true) => inside = !inside,
            ('{' | '}', _) => return Err(syntax(text, "its braces do not match")),
            ('.' | ':', false) => {
                if *separator.get_or_insert(c) != c {
                    return Err(syntax(text, "it mixes '.' and ':'"));
                }
                parts.push(&address[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&address[start..]);
    match (inside, separator) {
        (true, _) => Err(syntax(text, "its braces do not match")),
        (_, None) => Err(syntax(text, "it has neither '.' nor ':'")),
        (_, Some('.')) if parts.len() == 4 => Ok((Family::V4, parts)),
        (_, Some('.')) => Err(syntax(text, "an IPv4 address has four octets")),
        _ => match expand(parts) {
            Some(groups) => Ok((Family::V6, groups)),
            None => Err(syntax(
                text,
                "an IPv6 address has eight groups, or fewer and one '::'",
            )),
        },
    }
}

/// Puts the zeros in that `::` stands for. Where it is, a part is empty; at an
/// end of the address the end is empty too.
fn expand(mut parts: Vec<&str>) -> Option<Vec<&str>> {
    if parts.starts_with(&["", ""]) {
        parts.remove(0);
    }
    if parts.ends_with(&["", ""]) {
        parts.pop();
    }
    let mut gaps = parts.iter().enumerate().filter(|(_, part)| part.is_empty());
    let gap = gaps.next().map(|(index, _)| index);
    if gaps.next().is_some() {
        return None;
    }
    match gap {
        Some(gap) if parts.len() <= 8 => {
            let zeros = 9 - parts.len();
            parts.splice(gap..=gap, std::iter::repeat_n("0", zeros));
            Some(parts)
        }
        None if parts.len() == 8 => Some(parts),
        _ => None,
    }
}

/// Reads the octets or groups one after the other.
struct Parser<'a> {
    text: &'a str,
    family: Family,
    /// How many bits an octet or a group has.
    width: u32,
    /// How many bits of the address have not been read.
    left: u32,
    literal: u128,
    fields: Vec<Field>,
}

impl<'a> Parser<'a> {
    fn new(family: Family, text: &'a str) -> Self {
        Parser {
            text,
            family,
            width: if family == Family::V4 { 8 } else { 16 },
            left: family.bits(),
            literal: 0,
            fields: Vec::new(),
        }
    }

    fn part(&mut self, part: &str) -> Result<(), Error> {
        self.left -= self.width;
        if part.contains('{') {
            return self.fields_of(part);
        }
        self.literal |= u128::from(self.literal_of(part)?) << self.left;
        Ok(())
    }

    fn literal_of(&self, part: &str) -> Result<u16, Error> {
        let value = match self.family {
            Family::V4 => {
                // As everywhere since inet_aton(3) confused people: no octal.
                let plain = part.len() == 1 || !part.starts_with(['0', '+']);
                part.parse::<u8>().ok().filter(|_| plain).map(u16::from)
            }
            Family::V6 => {
                let plain = (1..=4).contains(&part.len()) && !part.starts_with('+');
                u16::from_str_radix(part, 16).ok().filter(|_| plain)
            }
        };
        value.ok_or_else(|| Error::TemplatePart {
            template: self.text.to_owned(),
            part: part.to_owned(),
            family: self.family,
        })
    }

    /// Reads `{a}` or `{a:4}{b:4}`.
    fn fields_of(&mut self, part: &str) -> Result<(), Error> {
        let mut filled: u32 = 0;
        for field in part.split_inclusive('}') {
            let inside = field
                .strip_prefix('{')
                .and_then(|field| field.strip_suffix('}'));
            let inside = inside.ok_or_else(|| Error::TemplateMixed {
                template: self.text.to_owned(),
                part: part.to_owned(),
            })?;
            let (name, bits) = self.field(inside)?;
            filled = filled.saturating_add(bits);
            if filled <= self.width {
                self.fields.push(Field {
                    name: name.to_owned(),
                    bits,
                    shift: self.left + self.width - filled,
                });
            }
        }
        match filled == self.width {
            true => Ok(()),
            false => Err(Error::TemplateNotFilled {
                template: self.text.to_owned(),
                part: part.to_owned(),
                bits: filled,
                width: self.width,
            }),
        }
    }

    /// Reads what is in the braces: `name` or `name:bits`.
    fn field<'f>(&self, inside: &'f str) -> Result<(&'f str, u32), Error> {
        let (name, bits) = match inside.split_once(':') {
            None => (inside, Some(self.width)),
            Some((name, bits)) => (name, bits.parse().ok().filter(|bits| *bits > 0)),
        };
        let bits =
            bits.ok_or_else(|| syntax(self.text, "a width is a number of bits, as in {slot:8}"))?;
        match field::is_name(name) {
            true => Ok((name, bits)),
            false => Err(syntax(self.text, field::NAME)),
        }
    }
}

fn syntax(template: &str, why: &'static str) -> Error {
    Error::Template {
        template: template.to_owned(),
        why,
    }
}
