//! Reading the kernel's replies: headers and attributes, and nothing that is not
//! asked for.

use nix::errno::Errno;

/// The length of `struct nlmsghdr` (linux/netlink.h).
pub(crate) const HEADER: usize = 16;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: what was listed changed in between.
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;

/// One message of a reply.
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages in a datagram, up to the first that is cut off.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let payload = bytes.get(HEADER..length)?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes (`struct nlattr`) in `bytes`, without their flag bits.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = u16_at(bytes, 2)? & 0x3fff;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The text of an attribute, which ends at the first NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Why a list ended before it was complete, if it did: it must not be taken for a short
/// one. What is gone has nothing to list.
pub(crate) fn failed(done: &Message<'_>) -> Option<Errno> {
    let number = u32_at(done.payload, 0)? as i32;
    let errno = (number < 0).then(|| Errno::from_raw(-number));
    errno.filter(|errno| ![Errno::ENODEV, Errno::ENOENT].contains(errno))
}

/// Reads the payload of an error message: `None` is an acknowledgement, else the
/// error's number and the kernel's explanation (`NLMSGERR_ATTR_MSG`).
pub(crate) fn refusal(message: &Message<'_>) -> Option<(Errno, String)> {
    /// `NLM_F_CAPPED`, `NLM_F_ACK_TLVS` and `NLMSGERR_ATTR_MSG`.
    const CAPPED: u16 = 0x100;
    const EXPLAINED: u16 = 0x200;
    const TEXT: u16 = 1;

    let number = u32_at(message.payload, 0)? as i32;
    if number == 0 {
        return None;
    }
    let echoed = match message.flags & CAPPED != 0 {
        true => HEADER,
        false => u32_at(message.payload, 4)? as usize,
    };
    let explanation = message
        .payload
        .get(4 + echoed.next_multiple_of(4)..)
        .unwrap_or_default();
    let reason = attributes(explanation)
        .find(|(kind, _)| message.flags & EXPLAINED != 0 && *kind == TEXT)
        .map(|(_, value)| text(value));
    Some((Errno::from_raw(-number), reason.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_fail_are_not_short_ones() {
        let done = |number: i32| {
            let payload = number.to_ne_bytes();
            failed(&Message {
                kind: DONE,
                flags: 0,
                sequence: 1,
                payload: &payload,
            })
        };
        assert_eq!(done(0), None);
        assert_eq!(done(-(Errno::ENODEV as i32)), None);
        assert_eq!(done(-(Errno::EINVAL as i32)), Some(Errno::EINVAL));
    }

    #[test]
    fn cut_off_messages_and_attributes_end_the_list() {
        assert_eq!(messages(&[]).count(), 0);
        assert_eq!(messages(&[0; 40]).count(), 0);
        let mut bytes = vec![20, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(messages(&bytes).next().unwrap().sequence, 7);
        bytes.pop();
        assert_eq!(messages(&bytes).count(), 0);
        assert_eq!(
            attributes(&[5, 0, 3, 0, 9, 0, 0, 0, 1]).collect::<Vec<_>>(),
            [(3, &[9][..])]
        );
        assert_eq!(attributes(&[3, 0, 3, 0]).count(), 0);
    }
}
