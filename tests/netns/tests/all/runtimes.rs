//! Real runtimes from Debian's packages: Podman 4 with CNI, and containerd's `ctr`.
//!
//! They bring their own libcni, and so show that our configurations, results and errors are what it
//! takes them for.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Plugins};
use serde_json::{Value, json};

use crate::network::host_local;
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("runtimes/podman-two-networks", podman_two_networks),
        ours("runtimes/podman-chosen-addresses", podman_chosen_addresses),
        ours(
            "runtimes/podman-undoes-what-fails",
            podman_undoes_what_fails,
        ),
        ours(
            "runtimes/podman-and-slash24-clean-up-after-each-other",
            podman_and_slash24,
        ),
        ours(
            "runtimes/containerd-detaches-without-namespace",
            containerd_without_namespace,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The root directory of the containers: busybox and nothing else.
const ROOT: &str = "/run/rootfs";
const APPLETS: [&str; 3] = ["sh", "sleep", "ip"];
const CONFIGURATIONS: &str = "/etc/cni/net.d";

/// A host on which containers can be run.
fn machine() -> Host {
    let host = Host::new("host");
    // Runtimes know cgroups of version 1 or 2, and some machines mount both.
    must(&host, "mount", &["-t", "cgroup2", "none", "/sys/fs/cgroup"]);
    host.write(&format!("{ROOT}/etc/hostname"), "container\n");
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.exists(), "the tests need busybox-static");
    host.copy_program(busybox, &format!("{ROOT}/bin/busybox"));
    host.run(|| {
        let bin = Path::new(ROOT).join("bin");
        for folder in ["bin", "proc", "sys", "dev", "tmp", "run"] {
            std::fs::create_dir_all(Path::new(ROOT).join(folder)).expect("/run is the host's own");
        }
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("/run is the host's own");
        }
    });
    host
}

/// A bridge network of that name, in the file that the runtimes read.
fn offer(host: &Host, name: &str, subnets: &[&str]) {
    let mut ipam = host_local(subnets);
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}]);
    let bridge = json!({
        "type": "bridge", "bridge": name, "isGateway": true, "ipam": ipam,
        "capabilities": {"ips": true, "mac": true},
    });
    let list = json!({"cniVersion": "0.4.0", "name": name, "plugins": [bridge]});
    host.write(
        &format!("{CONFIGURATIONS}/{name}.conflist"),
        &list.to_string(),
    );
}

fn run(host: &Host, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let output = host.run(|| {
        Command::new(program)
            .args(arguments)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
    });
    output.unwrap_or_else(|error| panic!("the tests need `{program}`: {error}"))
}

fn must(host: &Host, program: &str, arguments: &[&str]) -> String {
    must_have_succeeded(program, arguments, &run(host, program, arguments, &[]))
}

fn must_have_succeeded(program: &str, arguments: &[&str], output: &Output) -> String {
    assert!(
        output.status.success(),
        "{program} {}: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Nothing of an attachment is left: no lease, no cable, no cached result.
fn nothing_is_left(host: &Host, networks: &[&str]) {
    for network in networks {
        assert_eq!(leases(host, network), Vec::<String>::new(), "of {network}");
    }
    let Value::Array(cables) = host.ip_json("link show type veth") else {
        panic!("ip prints a list");
    };
    assert!(cables.is_empty(), "{cables:?}");
    let results = files(host, "/var/lib/cni/results");
    assert!(results.is_empty(), "{results:?}");
}

fn leases(host: &Host, network: &str) -> Vec<String> {
    let mut files = files(host, &format!("/var/lib/cni/networks/{network}"));
    files.retain(|name| name.parse::<std::net::IpAddr>().is_ok());
    files
}

fn files(host: &Host, directory: &str) -> Vec<String> {
    host.run(|| {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries
            .map(|entry| entry.expect("the folder can be read").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    })
}

/// Podman with a storage of its own; what it still runs ends with the value.
struct Podman<'h> {
    host: &'h Host,
}

impl<'h> Podman<'h> {
    const SETTINGS: &'static str = "/run/containers.conf";

    fn on(host: &'h Host) -> Self {
        let plugins = host.plugin_dir(Plugins::Slash24);
        let settings = format!(
            "[network]\n\
             network_backend = \"cni\"\n\
             cni_plugin_dirs = [\"{}\"]\n\
             network_config_dir = \"{CONFIGURATIONS}\"\n\
             [engine]\n\
             cgroup_manager = \"cgroupfs\"\n\
             events_logger = \"none\"\n\
             lock_type = \"file\"\n\
             runtime = \"crun\"\n",
            plugins.display()
        );
        host.write(Self::SETTINGS, &settings);
        Podman { host }
    }

    fn execute(&self, arguments: &[&str]) -> Output {
        const STORAGE: [&str; 8] = [
            "--root",
            "/run/podman/root",
            "--runroot",
            "/run/podman/run",
            "--tmpdir",
            "/run/podman/tmp",
            "--storage-driver",
            "vfs",
        ];
        let all: Vec<_> = STORAGE.iter().chain(arguments).copied().collect();
        run(
            self.host,
            "podman",
            &all,
            &[("CONTAINERS_CONF", Self::SETTINGS)],
        )
    }

    fn must(&self, arguments: &[&str]) -> String {
        must_have_succeeded("podman", arguments, &self.execute(arguments))
    }

    /// Starts a container that sleeps. The limits are low because not every machine lets its root
    /// raise them.
    fn start(&self, name: &str, arguments: &[&str]) -> Output {
        let fixed = ["run", "-d", "--cgroups", "disabled"];
        let limits = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"];
        let command = ["--name", name, "--rootfs", ROOT, "/bin/sleep", "60"];
        let all = [&fixed[..], &limits[..], arguments, &command[..]].concat();
        self.execute(&all)
    }

    fn inside(&self, name: &str, arguments: &[&str]) -> String {
        self.must(&[&["exec", name], arguments].concat())
    }

    fn inspect(&self, name: &str) -> Value {
        let text = self.must(&["inspect", "--format", "json", name]);
        let value: Value = serde_json::from_str(&text).expect("podman prints JSON");
        value[0].clone()
    }

    fn networks(&self, name: &str) -> Value {
        self.inspect(name)["NetworkSettings"]["Networks"].clone()
    }

    fn remove(&self, name: &str) {
        self.must(&["rm", "-f", "-t", "0", name]);
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // Only a trial that failed has left any.
        self.execute(&["rm", "-f", "-t", "0", "--all"]);
    }
}

/// Podman attaches the networks of a container in the random order of a Go map, and also names the
/// interfaces in that order unless it is told to name them otherwise.
fn podman_two_networks() {
    let host = machine();
    offer(&host, "front", &["10.1.0.0/24", "fd00:1::/64"]);
    offer(&host, "back", &["10.2.0.0/24"]);
    let podman = Podman::on(&host);
    let (front, back) = ("front:interface_name=eth0", "back:interface_name=eth1");
    let started = podman.start("web", &["--network", back, "--network", front]);
    must_have_succeeded("podman", &["run"], &started);

    let networks = podman.networks("web");
    assert_eq!(networks["front"]["IPAddress"], "10.1.0.2", "{networks:#}");
    assert_eq!(networks["front"]["Gateway"], "10.1.0.1");
    assert_eq!(networks["front"]["GlobalIPv6Address"], "fd00:1::2");
    assert_eq!(networks["front"]["MacAddress"], "0a:58:0a:01:00:02");
    assert_eq!(networks["back"]["IPAddress"], "10.2.0.2");
    for address in ["10.1.0.2", "fd00:1::2", "10.2.0.2"] {
        host.ping(address);
    }
    let routes = podman.inside("web", &["ip", "route"]);
    let mut defaults = routes.lines().filter(|line| line.starts_with("default"));
    let first = defaults.next().unwrap_or_default();
    assert!(
        first.contains("10.1.0.1") && defaults.count() == 1,
        "{routes}"
    );

    podman.remove("web");
    nothing_is_left(&host, &["front", "back"]);
}

/// Podman hands a chosen address over in `CNI_ARGS`, or as a capability when there are several.
fn podman_chosen_addresses() {
    let host = machine();
    offer(&host, "front", &["10.1.0.0/24", "fd00:1::/64"]);
    let podman = Podman::on(&host);
    let one = ["--network", "front:ip=10.1.0.77,mac=0a:00:00:00:00:77"];
    must_have_succeeded("podman", &one, &podman.start("one", &one));
    let networks = podman.networks("one");
    assert_eq!(networks["front"]["IPAddress"], "10.1.0.77", "{networks:#}");
    assert_eq!(networks["front"]["MacAddress"], "0a:00:00:00:00:77");

    let two = ["--network", "front:ip=10.1.0.78,ip6=fd00:1::78"];
    must_have_succeeded("podman", &two, &podman.start("two", &two));
    let networks = podman.networks("two");
    assert_eq!(networks["front"]["IPAddress"], "10.1.0.78", "{networks:#}");
    assert_eq!(networks["front"]["GlobalIPv6Address"], "fd00:1::78");

    let taken = podman.start("three", &one);
    let told = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success(), "{told}");
    assert!(told.contains("10.1.0.77"), "{told}");
    podman.remove("one");
    podman.remove("two");
    nothing_is_left(&host, &["front"]);
}

fn podman_undoes_what_fails() {
    let host = machine();
    offer(&host, "front", &["10.1.0.0/24"]);
    // One address is the router's, so none is left.
    offer(&host, "full", &["10.2.0.0/30"]);
    let podman = Podman::on(&host);
    let full = ["--network", "full"];
    must_have_succeeded("podman", &full, &podman.start("first", &full));
    let failed = podman.start("web", &["--network", "front", "--network", "full"]);
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success(), "{told}");
    assert!(
        told.contains("no address is free") && told.contains("\"full\""),
        "{told}"
    );
    assert_eq!(leases(&host, "front"), Vec::<String>::new());
    podman.remove("first");
    nothing_is_left(&host, &["front", "full"]);
}

/// What one attached the other detaches: the cached results are libcni's, to the letter that counts.
fn podman_and_slash24() {
    let host = machine();
    offer(&host, "front", &["10.1.0.0/24"]);
    let podman = Podman::on(&host);
    let front = ["--network", "front"];
    must_have_succeeded("podman", &front, &podman.start("web", &front));
    let container = podman.inspect("web");
    let text = |value: &Value| value.as_str().expect("podman says it").to_owned();
    let id = text(&container["Id"]);
    let netns = text(&container["NetworkSettings"]["SandboxKey"]);
    host.write(
        "/run/task.json",
        &json!({"container": {"network": [{"name": "front"}]}}).to_string(),
    );
    let slash24 = |verb: &str| {
        let arguments = [verb, "--netns", &netns, "--id", &id, "/run/task.json"];
        let plugins = host.plugin_dir(Plugins::Slash24);
        let call = Call::of(&host, Plugins::Slash24, "slash24").arguments(arguments);
        let outcome = call
            .arguments([Path::new("--plugin-dir"), &plugins])
            .execute();
        assert_eq!(outcome.code, Some(0), "{verb}: {outcome:#?}");
    };
    slash24("check");
    slash24("detach");
    nothing_is_left(&host, &["front"]);

    slash24("attach");
    assert_eq!(leases(&host, "front").len(), 1);
    let results = files(&host, "/var/lib/cni/results");
    assert_eq!(results, [format!("front-{id}-eth0")]);
    podman.remove("web");
    nothing_is_left(&host, &["front"]);
}

/// containerd with directories of its own; it ends with the value.
struct Containerd(Child);

impl Containerd {
    const SOCKET: &'static str = "/run/containerd/socket";

    fn on(host: &Host) -> Self {
        let settings = format!(
            "version = 2\n\
             root = \"/run/containerd/root\"\n\
             state = \"/run/containerd/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n\
             address = \"{}\"\n",
            Self::SOCKET
        );
        host.write("/run/containerd/config.toml", &settings);
        let child = host.run(|| {
            Command::new("containerd")
                .args(["--config", "/run/containerd/config.toml"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        let containerd =
            Self(child.unwrap_or_else(|error| panic!("the tests need `containerd`: {error}")));
        host.wait_until("containerd answers", || {
            run(host, "ctr", &["-a", Self::SOCKET, "version"], &[])
                .status
                .success()
        });
        containerd
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ctr` detaches when the container has ended, with an empty `CNI_NETNS`.
fn containerd_without_namespace() {
    let host = machine();
    offer(&host, "front", &["10.1.0.0/24"]);
    // The one place where ctr looks for plugins.
    let plugins = host.plugin_dir(Plugins::Slash24);
    must(&host, "mount", &["-t", "tmpfs", "none", "/opt"]);
    host.run(|| {
        std::fs::create_dir_all("/opt/cni").expect("/opt is the host's own");
        symlink(&plugins, "/opt/cni/bin").expect("/opt is the host's own");
    });
    host.write_program(
        &format!("{ROOT}/run/story"),
        "#!/bin/sh\nip route\nip address show eth0\n",
    );
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/run/story"], "env": ["PATH=/bin"], "cwd": "/",
        },
        "root": {"path": ROOT},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}]},
    });
    host.write("/run/spec.json", &spec.to_string());
    let _containerd = Containerd::on(&host);
    let told = must(
        &host,
        "ctr",
        &[
            "-a",
            Containerd::SOCKET,
            "run",
            "--rm",
            "--cni",
            "--config",
            "/run/spec.json",
            "--runc-binary",
            "crun",
            "web",
        ],
    );
    assert!(told.contains("default via 10.1.0.1 dev eth0"), "{told}");
    assert!(told.contains("10.1.0.2/24"), "{told}");
    nothing_is_left(&host, &["front"]);
}
