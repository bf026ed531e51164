//! What the specification allows as a name.

/// Whether `id` may be a container id or the name of a network: a letter or a
/// digit, then letters, digits, `_`, `.` and `-`. Such a name is also safe as a
/// file name.
pub fn is_identifier(id: &str) -> bool {
    let mut bytes = id.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// What [`is_identifier`] wants, for messages.
pub const IDENTIFIER: &str =
    "it must start with a letter or a digit and hold only letters, digits, '_', '.' and '-'";

/// Whether the kernel takes `name` as an interface's (`dev_valid_name`): 1 to 15
/// bytes, not `.` or `..`, without `/`, `:` and white space, which to the kernel is also
/// the byte of Latin-1's. `all` and `default` have directories of parameters that are
/// no interface's. U+FFFD stands for bytes that were no text.
pub fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && ![".", "..", "all", "default"].contains(&name)
        && !name.contains(|c: char| matches!(c, '/' | ':' | '%' | '\u{fffd}') || c.is_whitespace())
        && !name.bytes().any(|byte| byte == 0xa0)
}

/// What [`is_interface`] wants, for messages.
pub const INTERFACE: &str = "an interface name has 1 to 15 bytes, is not '.', '..', 'all' or 'default', and holds no '/', ':', '%' or white space";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "0", "a.b_c-d", "550e8400-e29b.child"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", ".", "-a", "a/b", "a b", "ä", "a\n"] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }

    #[test]
    fn interfaces() {
        for good in ["eth0", "a", "123456789012345", "é"] {
            assert!(is_interface(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "1234567890123456",
            "a/b",
            "a:b",
            "a b",
            "a\u{a0}b",
            "à",
            "a\u{fffd}",
            "all",
            "default",
            "éééééééé",
        ] {
            assert!(!is_interface(bad), "{bad}");
        }
    }
}
