//! Names of fields of a place.

/// Whether `name` can stand in the braces of a template or a pattern.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// What [`is_name`] wants, for messages.
pub(crate) const NAME: &str = "a field is a name in braces such as {rack}: a letter or '_', then letters, digits, '_' and '-'";
