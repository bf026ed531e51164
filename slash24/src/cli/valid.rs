//! The attachments that a caller of `slash24 gc` vouches for.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cni::{ValidAttachment, name};
use serde_json::Value;

use super::gc::made;
use crate::error::Error;

/// The list, and when it was made.
#[derive(Debug)]
pub(super) struct Valid {
    attachments: Vec<ValidAttachment>,
    made: SystemTime,
}

/// How long an abbreviated id is at least, as `docker ps` prints them.
const ABBREVIATED: usize = 12;

/// The kernel's clock for files goes in steps, the longest of which this is (100 a
/// second). What was made in the step of the list may be younger than it.
const TICK: Duration = Duration::from_millis(10);

impl Valid {
    /// Reads a file, or standard input when it is `-`.
    pub(super) fn read(file: &Path) -> Result<Self, Error> {
        let failed = |error| Error::path(file, error);
        let mut text = String::new();
        let made = match file == Path::new("-") {
            true => {
                let stdin = std::io::stdin();
                let clone = stdin.as_fd().try_clone_to_owned().map_err(failed)?;
                let made = made(File::from(clone).metadata());
                stdin.lock().read_to_string(&mut text).map_err(failed)?;
                made
            }
            false => {
                let mut open = File::open(file).map_err(failed)?;
                open.read_to_string(&mut text).map_err(failed)?;
                made(open.metadata())
            }
        };
        let attachments = parse(&text).map_err(|why| Error::NotAttachments {
            file: file.to_owned(),
            why,
        })?;
        Ok(Valid { attachments, made })
    }

    /// Looks for ids that seem to be the beginning of a container's.
    ///
    /// # Errors
    /// There is one: all that this container has would be freed.
    pub(super) fn check_whole<'a>(
        &self,
        containers: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Error> {
        for valid in &self.attachments {
            let id = &valid.container_id;
            let hex = id.len() >= ABBREVIATED && id.bytes().all(|b| b.is_ascii_hexdigit());
            let is_longer = |other: &&str| other.len() > id.len() && other.starts_with(id.as_str());
            if let Some(container) = containers.clone().find(is_longer).filter(|_| hex) {
                return Err(Error::Abbreviated {
                    id: id.clone(),
                    container: container.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Adds an attachment that was made after the list, which cannot know of it.
    pub(super) fn add_if_younger(&mut self, container: &str, ifname: &str, since: SystemTime) {
        if since + TICK >= self.made && !container.is_empty() {
            self.attachments.push(ValidAttachment {
                container_id: container.to_owned(),
                ifname: ifname.to_owned(),
            });
        }
    }

    /// The attachments.
    pub(super) fn attachments(&self) -> &[ValidAttachment] {
        &self.attachments
    }
}

/// Reads a list in either form.
fn parse(text: &str) -> Result<Vec<ValidAttachment>, String> {
    let attachments = match text.trim_start().chars().next() {
        None => return Err("there is nothing in it; [] means that there is no container".into()),
        Some('[' | '{') => from_json(text)?,
        Some(_) => from_lines(text)?,
    };
    for valid in &attachments {
        if !name::is_identifier(&valid.container_id) {
            let id = &valid.container_id;
            return Err(format!(
                "\"{id}\" is no container's id: {}",
                name::IDENTIFIER
            ));
        }
    }
    Ok(attachments)
}

fn from_json(text: &str) -> Result<Vec<ValidAttachment>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // As a whole request of GC has it.
    let list = match value {
        Value::Object(mut object) => object
            .remove("cni.dev/valid-attachments")
            .ok_or("the object has no \"cni.dev/valid-attachments\"")?,
        list => list,
    };
    serde_json::from_value(list).map_err(|error| {
        format!("{error}; it is [{{\"containerID\": \"c3f1\", \"ifname\": \"eth0\"}}, …]")
    })
}

fn from_lines(text: &str) -> Result<Vec<ValidAttachment>, String> {
    let mut attachments = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        let (container, ifname) = match words[..] {
            [] => continue,
            [container] => (container, ""),
            [container, ifname] if name::is_interface(ifname) => (container, ifname),
            _ => {
                return Err(format!(
                    "line {number} is \"{}\"; a line is a container's id, and the interface or nothing",
                    line.trim()
                ));
            }
        };
        attachments.push(ValidAttachment {
            container_id: container.to_owned(),
            ifname: ifname.to_owned(),
        });
    }
    match attachments.is_empty() {
        true => Err("there are only comments in it; [] means that there is no container".into()),
        false => Ok(attachments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        let pairs = parse(text)?.into_iter();
        let pairs: Vec<String> = pairs
            .map(|v| format!("{}/{}", v.container_id, v.ifname))
            .collect();
        Ok(pairs.join(" "))
    }

    #[test]
    fn both_forms() {
        for (text, expected) in [
            (
                r#"[{"containerID": "a", "ifname": "eth0"}, {"containerID": "b"}]"#,
                "a/eth0 b/",
            ),
            (" \n[]", ""),
            (
                r#"{"cni.dev/valid-attachments": [{"containerID": "a"}]}"#,
                "a/",
            ),
            (
                "a eth0\n\n# gone\nb # a comment\n  c\teth1\r\n",
                "a/eth0 b/ c/eth1",
            ),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, why) in [
            ("", "nothing in it"),
            ("# none\n", "only comments"),
            ("[{\"ifname\": \"eth0\"}]", "containerID"),
            ("[{\"containerID\": \"\"}]", "no container's id"),
            ("{}", "valid-attachments"),
            ("[", "EOF"),
            (
                "CONTAINER ID   IMAGE   COMMAND",
                "line 1 is \"CONTAINER ID   IMAGE",
            ),
            ("a/b", "\"a/b\" is no container's id"),
            ("ok\na b/c", "line 2"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
