//! static as a runtime sees it, and beside the reference's.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::io::Write;
use std::process::{Command, Stdio};

use cni::{Environment, skeleton};
use ipam::Static;
use serde_json::{Value, json};

/// Where Debian installs the reference's.
const REFERENCE: &str = "/usr/lib/cni/static";

fn environment(verb: &'static str, args: &str) -> [(&'static str, String); 6] {
    [
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", "c1".to_owned()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_NETNS", "/run/netns/none".to_owned()),
        ("CNI_PATH", "/opt/cni/bin".to_owned()),
        ("CNI_ARGS", args.to_owned()),
    ]
}

fn ours(verb: &'static str, args: &str, config: &Value) -> Result<Value, Value> {
    let env = Environment::from_pairs(environment(verb, args));
    let stdin = || Ok(config.to_string().into_bytes());
    let output = skeleton::answer(&Static, &[], &env, stdin);
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    if output.status == 0 {
        Ok(value)
    } else {
        Err(value)
    }
}

fn theirs(verb: &'static str, args: &str, config: &Value) -> Result<Value, Value> {
    let mut child = Command::new(REFERENCE)
        .env_clear()
        .envs(environment(verb, args))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{REFERENCE}: {error}; see scripts/install-dependencies"))
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(config.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    if output.status.success() {
        Ok(value)
    } else {
        Err(value)
    }
}

fn config(version: &str, ipam: &Value) -> Value {
    let mut ipam = ipam.clone();
    ipam["type"] = "static".into();
    json!({"cniVersion": version, "name": "net", "type": "bridge", "ipam": ipam})
}

/// As results of 1.0.0 are compared: the reference in Debian 12 still tells of no
/// name servers.
fn without_empty_dns(answer: Result<Value, Value>) -> Option<Value> {
    let mut answer = answer.ok();
    if let Some(result) = answer.as_mut().and_then(Value::as_object_mut) {
        result.retain(|key, value| key != "dns" || *value != json!({}));
    }
    answer
}

fn dual() -> Value {
    json!({
        "addresses": [
            {"address": "10.1.2.3/24", "gateway": "10.1.2.1"},
            {"address": "2001:db8::3/64", "gateway": "2001:db8::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.0.0.0/8", "gw": "10.1.2.9"}],
        "dns": {"nameservers": ["192.0.2.53"], "domain": "a.example", "search": ["b.example"], "options": ["rotate"]},
    })
}

#[test]
fn answers_are_the_references() {
    let none = json!({});
    for (ipam, args, extra) in [
        (dual(), "", none.clone()),
        (
            json!({"addresses": [{"address": "10.1.2.3/24"}]}),
            "",
            none.clone(),
        ),
        (json!({"addresses": []}), "", none.clone()),
        (
            json!({}),
            "IP=10.1.2.3/24,2001:db8::3/64;GATEWAY=10.1.2.1,2001:db8::1",
            none.clone(),
        ),
        (
            json!({}),
            "IgnoreUnknown=1;IP=10.1.2.3/24, 2001:db8::3/64",
            none.clone(),
        ),
        (
            json!({}),
            "",
            json!({"args": {"cni": {"ips": ["10.9.9.9/24"]}}}),
        ),
        (
            dual(),
            "",
            json!({"runtimeConfig": {"ips": ["10.9.9.9/24", "2001:db8:9::9/64"]}}),
        ),
        (
            json!({}),
            "",
            json!({"args": {"cni": {"ips": ["10.9.9.9/24"]}}, "runtimeConfig": {"ips": ["10.8.8.8/24"]}}),
        ),
        (
            dual(),
            "IP=10.1.2.4/24,2001:db8::4/64;GATEWAY=10.1.2.254,2001:db8::ff",
            none.clone(),
        ),
        (dual(), "GATEWAY=10.1.2.254", none.clone()),
        (
            dual(),
            "IP=10.1.2.4/24;GATEWAY=10.9.9.1,10.1.2.254",
            json!({"runtimeConfig": {"ips": ["10.9.9.9/24"]}}),
        ),
        (
            json!({"addresses": [{"address": "10.1.2.3"}]}),
            "",
            none.clone(),
        ),
        (
            json!({"addresses": [{"address": "x/24"}]}),
            "",
            none.clone(),
        ),
        (json!({}), "IP=10.1.2.3", none.clone()),
        (json!({}), "IP=10.1.2.3/24;GATEWAY=x", none.clone()),
        (
            json!({"addresses": [{"address": "10.1.2.3/24"}, {"address": "10.1.2.4/24"}]}),
            "",
            none,
        ),
    ] {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            let mut config = config(version, &ipam);
            let extra = extra.as_object().unwrap().clone();
            config.as_object_mut().unwrap().extend(extra);
            let (ours, theirs) = (ours("ADD", args, &config), theirs("ADD", args, &config));
            assert_eq!(
                without_empty_dns(ours),
                without_empty_dns(theirs),
                "{config} {args}"
            );
        }
    }
}

fn ips(result: &Value) -> Value {
    result["ips"].clone()
}

#[test]
fn requested_addresses_keep_the_gateway() {
    let mut config = config("1.0.0", &dual());
    let expected = json!([
        {"address": "10.1.2.77/24", "gateway": "10.1.2.1"},
        {"address": "2001:db8::77/64", "gateway": "2001:db8::1"},
    ]);
    for asked in [
        json!(["10.1.2.77/24", "2001:db8::77/64"]),
        json!(["10.1.2.77", "2001:db8::77"]),
    ] {
        config["runtimeConfig"] = json!({"ips": asked});
        assert_eq!(ips(&ours("ADD", "", &config).unwrap()), expected);
    }
    config["runtimeConfig"] = json!({"ips": ["10.7.7.7"]});
    let refused = ours("ADD", "", &config).unwrap_err();
    assert!(
        refused["msg"]
            .as_str()
            .unwrap()
            .contains("10.7.7.7 has no prefix")
    );
    config["runtimeConfig"] = Value::Null;
    let info = json!({"ip_addresses": [{"protocol": "IPv4", "ip_address": "10.1.2.78"}]});
    config["args"] = json!({"org.apache.mesos": {"network_info": info}});
    let mesos = ours("ADD", "", &config).unwrap();
    assert_eq!(mesos["ips"][0]["gateway"], "10.1.2.1");
}

#[test]
fn addresses_may_be_templates() {
    let ipam = json!({
        "addresses": [
            {"address": "10.{rack}.{slot}.53/24", "gateway": "10.{rack}.{slot}.1"},
            {"address": "10.24.{rack}.{slot}/16"},
        ],
        "routes": [{"dst": "10.{rack}.0.0/16", "gw": "10.{rack}.{slot}.1"}],
        "location": {"rack": 50, "slot": 11},
    });
    let result = ours("ADD", "", &config("1.0.0", &ipam)).unwrap();
    let expected = json!([
        {"address": "10.50.11.53/24", "gateway": "10.50.11.1"},
        {"address": "10.24.50.11/16"},
    ]);
    assert_eq!(ips(&result), expected);
    assert_eq!(
        result["routes"],
        json!([{"dst": "10.50.0.0/16", "gw": "10.50.11.1"}])
    );
}

#[test]
fn every_verb_answers() {
    let mut config = config("1.1.0", &dual());
    let result = ours("ADD", "", &config).unwrap();
    for verb in ["DEL", "GC", "STATUS"] {
        assert_eq!(ours(verb, "", &config), Ok(Value::Null), "{verb}");
    }
    assert_eq!(ours("CHECK", "", &config).unwrap_err()["code"], 7);
    config["prevResult"] = result;
    assert_eq!(ours("CHECK", "", &config), Ok(Value::Null));
    config["prevResult"]["ips"][0]["gateway"] = "10.1.2.9".into();
    let differs = ours("CHECK", "", &config).unwrap_err();
    assert_eq!(differs["code"], 104);
    assert!(
        differs["msg"]
            .as_str()
            .unwrap()
            .contains("10.1.2.3 had 10.1.2.9")
    );
    config["ipam"]["addresses"][0]["address"] = "10.{rack}.2.3/24".into();
    config["ipam"]["location"] = json!({"rack": 300});
    let wrong = ours("STATUS", "", &config).unwrap_err();
    assert!(
        wrong["msg"]
            .as_str()
            .unwrap()
            .contains("ipam.addresses[0].address"),
        "{wrong}"
    );
    assert_eq!(ours("DEL", "", &config), Ok(Value::Null));
}
