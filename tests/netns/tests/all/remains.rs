//! What may remain on a host after its last container.

use netns::Snapshot;

/// Asserts that nothing is left but what belongs to the network and not to a container: the bridge
/// `br0` with its addresses, routes and packet-filter objects, and the bookkeeping of host-local,
/// which remembers the last address.
pub(crate) fn only_the_network_remains(before: &Snapshot, after: &Snapshot) {
    let stays = |key: &str| {
        let of_bridge = key.split(' ').any(|word| word == "br0");
        let rule = key.starts_with("nft ") && !key.starts_with("nft element ");
        let of_network = rule && key.contains(" slash24");
        // What the host's own uplink hears of its segment.
        let of_uplink = key.starts_with("neighbour eth0 ");
        of_bridge || of_network || of_uplink || is_bookkeeping(key)
    };
    let known: Vec<&str> = before.keys().collect();
    let left: Vec<&str> = after
        .keys()
        .filter(|key| !known.contains(key) && !stays(key))
        .collect();
    assert!(
        left.is_empty(),
        "left behind: {left:?}\n{}",
        before.diff(after)
    );
    let lost = known.iter().any(|key| !after.keys().any(|now| now == *key));
    assert!(
        !lost,
        "something of the host is gone:\n{}",
        before.diff(after)
    );
}

/// Whether a key of a snapshot is a file below the data directory that is not a lease.
pub(crate) fn is_bookkeeping(key: &str) -> bool {
    let index = key.contains("/.slash24/") && key.ends_with("/index");
    let lease = key.starts_with("file")
        && !key.ends_with("/lock")
        && !key.contains("last_reserved")
        && !index;
    key.contains(" /var/lib/cni") && !lease
}
