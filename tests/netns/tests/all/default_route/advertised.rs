//! What becomes of the default routes that routers advertise.

use std::sync::mpsc::channel;
use std::thread;

use libtest_mimic::Trial;
use netns::{Container, Namespace, Plugins};
use serde_json::{Value, json};

use super::mixed::{offer_theirs, theirs};
use super::scene::{Scene, call, network};
use crate::announce::shout;
use crate::network::{merge, metric};
use crate::subject::ours;

pub(super) fn trials() -> Vec<Trial> {
    ours("default-route/router-advertisements", advertised)
}

/// The metrics of the default routes that came from a router.
fn learnt(container: &Container<'_>) -> Vec<u64> {
    let mut routes = container.routes("-6");
    routes.retain(|route| route["dst"] == "default" && route["protocol"] == "ra");
    routes
        .iter()
        .filter_map(|route| route["metric"].as_u64())
        .collect()
}

fn advertised() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let first = scene.host.container("first");
    call(Plugins::Slash24, &first, 1, &network(1, json!({})))
        .add()
        .success();
    thread::scope(|scope| {
        // The router falls silent when this end is dropped, also when an assertion ends the story.
        let (_audience, heard) = channel();
        let host = &scene.host;
        scope.spawn(move || host.run(|| shout("br1", heard)));
        let own = u64::from(metric(1));
        for (keys, expected) in [
            (json!({"routerAdvertisements": "keep"}), vec![1024]),
            (json!({"routerAdvertisements": "remetric"}), vec![own]),
            (
                json!({"routerAdvertisements": "remetric", "defaultRoute": {"priority": 101}}),
                vec![own + 10_000_000],
            ),
        ] {
            let container = host.container("c");
            let call = call(Plugins::Slash24, &container, 1, &network(1, keys.clone()));
            call.add().success();
            container.wait_until("the router is heard", || !learnt(&container).is_empty());
            assert_eq!(learnt(&container), expected, "{keys}");
            call.del().success();
        }
        // An interface that has heard it already, and goes on hearing it.
        let mut plain = network(1, json!({}));
        merge(&mut plain["ipam"], json!({"routes": null}));
        for (keys, expected) in [
            (json!({}), vec![own]),
            (json!({"routerAdvertisements": "keep"}), vec![1024]),
            (json!({"routerAdvertisements": "refuse"}), vec![]),
            (json!({"defaultRoute": false}), vec![]),
        ] {
            let container = host.container("c");
            let inner = call(Plugins::Debian, &container, 1, &plain);
            let result = inner.add().success();
            container.wait_until("the router is heard", || !learnt(&container).is_empty());
            let mut config: Value = json!({"cniVersion": "1.0.0", "name": "net1", "type": "default-route", "prevResult": result});
            merge(&mut config, keys.clone());
            theirs(call(Plugins::Slash24, &container, 1, &config))
                .add()
                .success();
            for _ in 0..20 {
                assert_eq!(learnt(&container), expected, "{keys}");
            }
            inner.del().success();
        }
    });
}
