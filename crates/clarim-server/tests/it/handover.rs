//! Hand-overs, from one server to another one in the same process.

use clarim_server::Inherited;
use serde_json::json;

use crate::support::{Harness, Setup, app, event, start};

/// Hands a server over to one with this setup.
async fn hand_over(server: &mut Harness, setup: Setup) {
    let old = server.server.take().unwrap();
    let handover = old.handover().hand_over(Vec::new()).await.unwrap();
    let inherited = Inherited::receive(handover.stdin()).unwrap();
    let config = setup.settings();
    let new = inherited.bind(config).unwrap().start(vec![app()], false).unwrap();
    handover.complete();
    assert_eq!(new.address(), Some(server.address));
    server.server = Some(new);
}

#[tokio::test]
async fn connections_go_on_at_another_server() {
    let mut server = start();
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.subscribe("news").await;
    two.subscribe("news").await;
    for workers in [2, 5, 1] {
        hand_over(&mut server, Setup { workers, ..Setup::default() }).await;
        server.publish("news", "e", &json!({ "workers": workers })).await;
        one.expect(event("news", "e", &json!({ "workers": workers }))).await;
        two.expect(event("news", "e", &json!({ "workers": workers }))).await;
        let body = json!({ "name": "e", "channel": "news", "data": "1", "socket_id": one.id });
        assert_eq!(server.api().post("/events", &body).await.status, 200);
        two.expect(event("news", "e", &json!(1))).await;
    }
    assert_eq!(server.server.as_ref().unwrap().connections("123456"), 2);
    drop((one, two));
    while !server.server.as_ref().unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_hand_over_that_is_given_up_changes_nothing() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("news").await;
    let handle = server.server.as_ref().unwrap().handover();
    for n in 0..3 {
        let handover = handle.hand_over(Vec::new()).await.unwrap();
        let error = handle.hand_over(Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), "handover_under_way");
        drop(handover);
        server.publish("news", "e", &json!(n)).await;
        client.expect(event("news", "e", &json!(n))).await;
        client.subscribe(&format!("more-{n}")).await;
    }
}
