//! Two nodes in one process, on a bus that is in it too.

use clarim_bus::MemoryBus;
use clarim_server::config::Scaling;
use serde_json::json;

use crate::support::{Setup, app};

#[tokio::test]
async fn two_nodes_in_one_process_are_one_cluster() {
    let bus = MemoryBus::new();
    let start = || {
        let scaling = Some(Scaling::new(bus.clone().into()));
        Setup { scaling, ..Setup::default() }.start(vec![app()])
    };
    let a = start();
    let b = start();
    let mut ana = a.connect().await;
    let mut ben = b.connect().await;
    ana.subscribe("private-orders").await;
    ben.subscribe("private-orders").await;
    for n in 0..50 {
        a.publish("private-orders", "e", &json!(n)).await;
    }
    for client in [&mut ana, &mut ben] {
        for n in 0..50 {
            let data = n.to_string();
            client.expect(json!({ "event": "e", "channel": "private-orders", "data": data })).await;
        }
    }
    let reply = b.api().get("/channels/private-orders", &[("info", "subscription_count")]).await;
    assert_eq!(reply.json(), json!({ "occupied": true, "subscription_count": 2 }));
    drop((ana, ben));
    a.becomes_empty().await;
    b.becomes_empty().await;
}
