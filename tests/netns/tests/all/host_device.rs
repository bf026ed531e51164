//! `host-device`: devices that go to a container and come back.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, network, with_previous};
use crate::remains::only_the_network_remains;
use crate::subject::{both, newest, ours};

const MAC: &str = "0a:00:00:00:00:31";

pub(crate) fn trials() -> Vec<Trial> {
    [
        both("host-device/there-and-back", there_and_back),
        ours("host-device/found-by-each-key", found_by_each_key),
        ours("host-device/in-user-space", in_user_space),
        ours("host-device/after-the-namespace", after_the_namespace),
        ours("host-device/its-name-was-taken", name_was_taken),
        ours("host-device/its-alias-was-changed", alias_was_changed),
        ours("host-device/add-over-leftovers", add_over_leftovers),
        ours("host-device/failed-add-gives-it-back", failed_add),
        ours("host-device/path-reused-by-another", path_reused),
        ours("host-device/takeover", takeover),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A host with a card on a fabric whose router has the gateways' addresses.
fn with_card() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "card", &[]);
    host.ip(&format!(
        "link set card down\nlink set card address {MAC}\nlink set card up"
    ));
    (fabric, host)
}

fn config(keys: Value) -> Value {
    network("host-device", "1.0.0", Family::Dual, keys)
}

fn by_name() -> Value {
    config(json!({"device": "card"}))
}

fn call<'h>(plugins: Plugins, container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), plugins, config).attach(container, "eth0")
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/var/lib/cni"])
}

/// It is the host's, as it was, and down.
fn is_home(host: &Host) {
    let card = host.link("card").expect("the card is back");
    assert_eq!(card["address"], MAC);
    assert!(card["ifalias"].is_null(), "{card}");
    assert!(card["altnames"].is_null(), "{card}");
}

fn there_and_back(plugins: Plugins) {
    let (_fabric, host) = with_card();
    let container = host.container("c");
    let mut config = by_name();
    config["cniVersion"] = newest(plugins).into();
    let result = call(plugins, &container, &config).add().success();
    assert!(host.link("card").is_none());
    let link = container.link("eth0").expect("it is the container's");
    assert_eq!(link["ifalias"], "card");
    assert_eq!(result["interfaces"][0]["mac"], MAC);
    assert_eq!(result["interfaces"][0]["name"], "eth0");
    container.wait_until("the router answers", || container.reaches("10.1.2.1"));
    container.wait_until("the router answers", || container.reaches("fd00:1:2::1"));
    let later = call(plugins, &container, &with_previous(&config, &result));
    later.check().success();
    later.del().success();
    assert!(host.link("card").is_some() && container.link("eth0").is_none());
    if plugins == Plugins::Slash24 {
        is_home(&host);
        // There is nothing left; the reference fails here.
        later.del().success();
        later.without("CNI_NETNS").del().success();
    }
}

fn found_by_each_key() {
    for (keys, folder) in [
        (json!({"hwaddr": MAC}), ""),
        (json!({"hwaddr": MAC.to_uppercase()}), ""),
        (
            json!({"pciBusID": "0000:00:1f.6"}),
            "/sys/bus/pci/devices/0000:00:1f.6/net",
        ),
        (
            json!({"pciBusID": "0000:00:1f.6"}),
            "/sys/bus/pci/devices/0000:00:1f.6/virtio3/net",
        ),
        (
            json!({"kernelpath": "/sys/devices/pci0000:00/0000:00:1f.6"}),
            "/sys/devices/pci0000:00/0000:00:1f.6/net",
        ),
        (
            json!({"runtimeConfig": {"deviceID": "0000:00:1f.6"}}),
            "/sys/bus/pci/devices/0000:00:1f.6/net",
        ),
        (
            json!({"runtimeConfig": {"deviceID": "mlx5_core.sf.2"}}),
            "/sys/bus/auxiliary/devices/mlx5_core.sf.2/net",
        ),
    ] {
        let (_fabric, host) = with_card();
        host.replace_sys();
        if !folder.is_empty() {
            host.write(&format!("{folder}/card/address"), MAC);
            host.write("/sys/bus/pci/devices/0000:00:1f.6/driver/e1000e", "");
        }
        let container = host.container("c");
        let config = config(keys);
        call(Plugins::Slash24, &container, &config).add().success();
        assert!(
            container.link("eth0").is_some() && host.link("card").is_none(),
            "{config}"
        );
        call(Plugins::Slash24, &container, &config).del().success();
        is_home(&host);
    }
}

/// Its driver hands it to a program: there is no link, but there may be addresses.
fn in_user_space() {
    let host = Host::new("host");
    host.replace_sys();
    host.write("/sys/bus/pci/drivers/vfio-pci/bind", "");
    host.run(|| {
        let device = "/sys/bus/pci/devices/0000:00:1f.6";
        std::fs::create_dir_all(device).expect("it is ours");
        std::os::unix::fs::symlink("../../drivers/vfio-pci", format!("{device}/driver"))
            .expect("it is ours");
    });
    let before = look(&host);
    let container = host.container("c");
    let config = config(json!({"pciBusID": "0000:00:1f.6"}));
    let result = call(Plugins::Slash24, &container, &config).add().success();
    let expected = json!([{"name": "eth0", "sandbox": "/run/netns/c"}]);
    assert_eq!(result["interfaces"], expected);
    assert_eq!(result["ips"][0]["address"], "10.1.2.2/24");
    let later = call(
        Plugins::Slash24,
        &container,
        &with_previous(&config, &result),
    );
    later.check().success();
    later.del().success();
    only_the_network_remains(&before, &look(&host));
}

/// The kernel gives devices back to the host when a namespace ends, under their names there.
fn after_the_namespace() {
    for verb in ["DEL", "GC"] {
        let (_fabric, host) = with_card();
        let container = host.container("c");
        let mut config = by_name();
        config["cniVersion"] = "1.1.0".into();
        call(Plugins::Slash24, &container, &config).add().success();
        container.ip(&format!(
            "link set eth0 down\nlink set eth0 netns {}",
            host.netns().display()
        ));
        container.destroy();
        assert!(host.link("eth0").is_some());
        match verb {
            "DEL" => {
                let gone = Call::new(&host, Plugins::Slash24, &config)
                    .env("CNI_CONTAINERID", "c")
                    .env("CNI_IFNAME", "eth0");
                gone.clone()
                    .env("CNI_NETNS", "/run/netns/c")
                    .del()
                    .success();
                gone.del().success();
            }
            _ => {
                config["cni.dev/valid-attachments"] = json!([]);
                Call::new(&host, Plugins::Slash24, &config)
                    .command("GC")
                    .success();
            }
        }
        is_home(&host);
        assert!(host.link("eth0").is_none());
    }
}

fn name_was_taken() {
    let (_fabric, host) = with_card();
    let container = host.container("c");
    call(Plugins::Slash24, &container, &by_name())
        .add()
        .success();
    host.ip("link add card type veth peer name other");
    call(Plugins::Slash24, &container, &by_name())
        .del()
        .success();
    let back = host.link("dev0").expect("the kernel numbered it");
    assert_eq!(back["address"], MAC);
}

/// The container may write on the device what it likes. It goes home all the same: by the
/// name in the configuration, or by one that the kernel makes up.
fn alias_was_changed() {
    for alias in ["a/b", "", "two words"] {
        for ended in [false, true] {
            let (_fabric, host) = with_card();
            let container = host.container("c");
            let call = call(Plugins::Slash24, &container, &by_name());
            call.add().success();
            container.ip(&format!("link set eth0 alias '{alias}'"));
            if ended {
                // As the kernel does when a namespace ends, for hardware.
                container.ip(&format!(
                    "link set eth0 down\nlink set eth0 netns {}",
                    host.netns().display()
                ));
            }
            call.del().success();
            is_home(&host);
        }
        let (_fabric, host) = with_card();
        let container = host.container("c");
        let call = call(
            Plugins::Slash24,
            &container,
            &config(json!({"hwaddr": MAC})),
        );
        call.add().success();
        container.ip(&format!("link set eth0 alias '{alias}'"));
        call.del().success();
        let back = host.link("dev0").expect("the kernel numbered it");
        assert_eq!(back["address"], MAC);
    }
}

fn add_over_leftovers() {
    let (_fabric, host) = with_card();
    let container = host.container("c");
    // As an ADD that was killed before it had a lease leaves it.
    call(Plugins::Slash24, &container, &by_name())
        .add()
        .success();
    host.run(|| std::fs::remove_dir_all("/var/lib/cni/networks/n").expect("there are leases"));
    call(Plugins::Slash24, &container, &by_name())
        .add()
        .success();
    assert_eq!(
        container.addresses("eth0"),
        ["10.1.2.2/24", "fd00:1:2::2/64"]
    );
    call(Plugins::Slash24, &container, &by_name())
        .del()
        .success();
    is_home(&host);
}

fn failed_add() {
    let (_fabric, host) = with_card();
    let container = host.container("c");
    let before = look(&host);
    let mut config = by_name();
    config["ipam"]["routes"] = json!([{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}]);
    call(Plugins::Slash24, &container, &config).add().failure();
    is_home(&host);
    let flags = host.link("card").expect("it is back")["flags"].clone();
    assert!(
        flags
            .as_array()
            .is_some_and(|flags| flags.contains(&json!("UP"))),
        "{flags}"
    );
    only_the_network_remains(&before, &look(&host));
}

fn path_reused() {
    let (fabric, host) = with_card();
    fabric.join(&host, "other", &[]);
    let dead = host.container("path");
    call(Plugins::Slash24, &dead, &by_name())
        .env("CNI_CONTAINERID", "dead")
        .add()
        .success();
    dead.ip(&format!(
        "link set eth0 down\nlink set eth0 netns {}",
        host.netns().display()
    ));
    dead.destroy();
    let living = host.container("path");
    let other = config(json!({"device": "other"}));
    call(Plugins::Slash24, &living, &other)
        .env("CNI_CONTAINERID", "living")
        .add()
        .success();
    call(Plugins::Slash24, &living, &by_name())
        .env("CNI_CONTAINERID", "dead")
        .del()
        .success();
    is_home(&host);
    assert_eq!(
        living.link("eth0").expect("it is the living one's")["ifalias"],
        "other"
    );
}

/// What one implementation moved the other gives back.
fn takeover() {
    for (first, second) in [
        (Plugins::Slash24, Plugins::Debian),
        (Plugins::Debian, Plugins::Slash24),
    ] {
        let (_fabric, host) = with_card();
        let container = host.container("c");
        let result = call(first, &container, &by_name()).add().success();
        call(second, &container, &with_previous(&by_name(), &result))
            .del()
            .success();
        assert_eq!(host.link("card").expect("the card is back")["address"], MAC);
    }
}
