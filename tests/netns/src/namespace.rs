//! What can be done in any network namespace, be it a host's, a container's or the fabric's.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{program, vm};

/// How long a packet may take; simulated links deliver in microseconds, loaded machines do not.
const PATIENCE: Duration = Duration::from_secs(2);

/// A place with a network of its own.
pub trait Namespace: Sync {
    /// The name by which messages call it.
    fn name(&self) -> String;

    /// Moves the calling thread into the place, for good.
    fn enter(&self);

    /// Runs a closure inside. What it spawns and what sockets it opens belong to the place.
    ///
    /// Each call has a thread of its own, so calls on one place may run at the same time.
    fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            thread::Builder::new()
                .name(self.name())
                .spawn_scoped(scope, || {
                    self.enter();
                    inside()
                })
                .expect("the machine has room for one more thread")
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Executes lines of `ip(8)` commands, such as `link add v0 type veth`.
    fn ip(&self, commands: &str) {
        self.run(|| program::must("ip", &["-batch", "-"], commands));
    }

    /// Executes `nft(8)` commands.
    fn nft(&self, commands: &str) {
        self.run(|| program::must("nft", &["-f", "-"], commands));
    }

    /// Asks `ip -json` and returns its answer: `ip_json("route show table all")`.
    fn ip_json(&self, question: &str) -> Value {
        self.ask("ip", &format!("-json {question}"))
    }

    /// Asks a program that prints JSON. Printing nothing means an empty list, as `ip` has it.
    fn ask(&self, program: &str, question: &str) -> Value {
        let args: Vec<&str> = question.split_whitespace().collect();
        let text = self.run(|| program::must(program, &args, ""));
        match text.trim() {
            "" => Value::Array(Vec::new()),
            json => serde_json::from_str(json)
                .unwrap_or_else(|error| panic!("{program} {question}: {error} in {json}")),
        }
    }

    /// The link of that name with all its details as `ip -json -details link` prints it, or `None`.
    fn link(&self, name: &str) -> Option<Value> {
        let Value::Array(links) = self.ip_json("-details link show") else {
            return None;
        };
        links.into_iter().find(|link| link["ifname"] == name)
    }

    /// The global addresses of an interface with their prefix lengths, in the kernel's order.
    fn addresses(&self, interface: &str) -> Vec<String> {
        let links = self.ip_json("address show scope global");
        let link = links
            .as_array()
            .into_iter()
            .flatten()
            .find(|link| link["ifname"] == interface);
        let addresses = link.and_then(|link| link["addr_info"].as_array());
        let cidr = |address: &Value| {
            // `ip` prints an empty object for an address that it was not asked for.
            Some(format!(
                "{}/{}",
                address["local"].as_str()?,
                address["prefixlen"]
            ))
        };
        addresses.into_iter().flatten().filter_map(cidr).collect()
    }

    /// The routes of the main table of a family (`"-4"` or `"-6"`), as `ip -json route` prints them.
    fn routes(&self, family: &str) -> Vec<Value> {
        match self.ip_json(&format!("{family} route show")) {
            Value::Array(routes) => routes,
            other => panic!("routes of {}: {other}", self.name()),
        }
    }

    /// Sets the default route of the gateways' family; several make it multipath.
    fn default_route(&self, gateways: &[&str]) {
        let ipv6 = gateways.iter().any(|gateway| gateway.contains(':'));
        let hops: Vec<_> = gateways
            .iter()
            .map(|gateway| format!("nexthop via {gateway}"))
            .collect();
        let everywhere = if ipv6 { "::/0" } else { "0.0.0.0/0" };
        self.ip(&format!("route replace {everywhere} {}", hops.join(" ")));
    }

    /// Reads a network setting: `sysctl("net/ipv4/ip_forward")`.
    fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/{key}");
        self.run(|| match std::fs::read_to_string(&path) {
            Ok(value) => value.trim().to_owned(),
            Err(error) => panic!("cannot read {path}: {error}"),
        })
    }

    /// Writes a network setting.
    fn set_sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| {
            std::fs::write(&path, value)
                .unwrap_or_else(|error| panic!("cannot write {value:?} to {path}: {error}"));
        });
    }

    /// Waits until the kernel has noticed that an interface has a carrier.
    ///
    /// It does so asynchronously, and a bridge port forwards nothing before.
    fn wait_for_carrier(&self, interface: &str) {
        self.wait_until(&format!("{interface} has a carrier"), || {
            self.link(interface)
                .is_some_and(|link| link["operstate"] == "UP")
        });
    }

    /// Waits for something that the kernel does in its own time.
    fn wait_until(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + vm::patience(5 * PATIENCE);
        while !happened() {
            assert!(
                Instant::now() < deadline,
                "{}: gave up waiting until {what}",
                self.name()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether an echo request is answered.
    ///
    /// They are repeated until one is, for an address may answer only shortly after
    /// it was added: the kernel does the last steps for IPv6 in its own time.
    fn reaches(&self, address: &str) -> bool {
        let wait = vm::patience(PATIENCE).as_secs().to_string();
        self.run(|| {
            program::run("ping", &["-nq", "-c1", "-i0.2", "-w", &wait, address], "")
                .status
                .success()
        })
    }

    /// Asserts that an echo request is answered. A busy machine may take its time.
    fn ping(&self, address: &str) {
        if !(0..5).any(|_| self.reaches(address)) {
            panic!(
                "{} does not reach {address}\naddresses: {:#}\nroutes: {:#}{:#}\nneighbours: {:#}",
                self.name(),
                self.ip_json("address show"),
                self.ip_json("-4 route show"),
                self.ip_json("-6 route show"),
                self.ip_json("neighbour show"),
            );
        }
    }

    /// Connects to `address` of another place and returns the source that the other end saw.
    ///
    /// # Errors
    /// Those of binding there, connecting here and accepting there.
    fn tcp(&self, to: &impl Namespace, address: &str) -> io::Result<SocketAddr> {
        let address: IpAddr = address.parse().map_err(io::Error::other)?;
        let listener = to.run(|| TcpListener::bind((address, 0)))?;
        let server = listener.local_addr()?;
        let _client =
            self.run(|| TcpStream::connect_timeout(&server, vm::patience(5 * PATIENCE)))?;
        Ok(listener.accept()?.1)
    }
}
