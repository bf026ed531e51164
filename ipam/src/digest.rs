//! A quick digest for what lies in our own files. It finds what was damaged by
//! accident; nothing that must withstand malice depends on it.

/// The digest of 64-bit words.
pub(crate) fn of_words(words: impl Iterator<Item = u64>) -> u64 {
    const SEED: u64 = 0x243f_6a88_85a3_08d3;
    let mixed = words.fold(SEED, |digest, word| {
        (digest.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    spread(mixed)
}

/// The digest of bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    of_words(words.chain([u64::from_le_bytes(last), bytes.len() as u64]))
}

/// Lets every bit of the input have its say in every bit of the output.
fn spread(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_count() {
        let mut digests: Vec<u64> = (0..1000u32)
            .flat_map(|n| {
                [
                    of_bytes(format!("c{n}").as_bytes()),
                    of_words([u64::from(n) + 1].into_iter()),
                ]
            })
            .collect();
        digests.push(of_bytes(b""));
        digests.push(of_bytes(b"\0"));
        let buckets = digests.iter().map(|digest| digest % 16);
        let mut counts = [0; 16];
        buckets.for_each(|bucket| counts[bucket as usize] += 1);
        assert!(
            counts.iter().all(|count| (70..190).contains(count)),
            "{counts:?}"
        );
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 2002);
    }
}
