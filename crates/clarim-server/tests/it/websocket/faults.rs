//! Bad bytes, bad clients, and the end.

use std::time::Duration;

use clarim_hub::app::App;
use serde_json::json;
use tokio::time::Instant;
use tokio_websockets::Message;

use crate::raw::{BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, PONG, Raw, TEXT, frame, header};
use crate::support::{
    Client, Harness, HttpConnection, Setup, app, eventually, start, start_with, succeeded, within,
};

const SUBSCRIBE: &[u8] = br#"{"event":"pusher:subscribe","data":{"channel":"x"}}"#;

/// Asserts that a new client can subscribe and receive an event.
async fn is_well(server: &Harness) {
    let mut client = server.connect().await;
    client.subscribe("health").await;
    server.publish("health", "e", &json!({})).await;
    client.expect(crate::support::event("health", "e", &json!({}))).await;
}

/// The answer to [`SUBSCRIBE`].
async fn subscribed(client: &mut Raw) {
    let (opcode, payload) = client.frame().await;
    let text = String::from_utf8(payload).unwrap();
    assert_eq!(opcode, TEXT, "{text}");
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found, succeeded("x"));
}

#[tokio::test]
async fn garbage_instead_of_http_is_answered_and_closed() {
    let server = start();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello over TLS\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /up HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /up HTTP/1.1\r\nx: \x01\r\n\r\n",
        b"POST /up HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /up HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ] {
        let mut client = Raw::connect(&server).await;
        client.send(garbage).await;
        client.finish().await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        let shown = String::from_utf8_lossy(garbage).into_owned();
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{shown:?} {answer}");
    }
    is_well(&server).await;
}

#[tokio::test]
async fn random_bytes_do_no_harm() {
    let server = start();
    // The seed is printed when the test fails.
    let seed = fastrand::u64(..);
    println!("seed: {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for n in 0..60 {
        let mut client =
            if n % 2 == 0 { Raw::connect(&server).await } else { Raw::websocket(&server).await };
        let bytes: Vec<u8> = (0..random.usize(1..5000)).map(|_| random.u8(..)).collect();
        // The server may close it before everything is sent.
        let _ = client.try_send(&bytes).await;
        if random.bool() {
            client.finish().await;
            client.rest().await;
        } else {
            client.reset();
        }
    }
    is_well(&server).await;
    server.becomes_empty().await;
}

#[tokio::test]
async fn random_frames_do_no_harm() {
    let server = start();
    let seed = fastrand::u64(..);
    println!("seed: {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..60 {
        let mut client = Raw::websocket(&server).await;
        for _ in 0..random.usize(1..20) {
            let opcode = random.choice([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]).unwrap();
            let mut payload = SUBSCRIBE.to_vec();
            payload.truncate(random.usize(..SUBSCRIBE.len()));
            if let Some(byte) = payload.first_mut() {
                *byte = random.u8(..);
            }
            if client.try_send(&frame(random.bool(), opcode, &payload)).await.is_err() {
                break;
            }
        }
        client.finish().await;
        client.rest().await;
    }
    is_well(&server).await;
    server.becomes_empty().await;
}

#[tokio::test]
async fn half_a_request_times_out() {
    let setup = Setup { handshake_timeout: Duration::from_secs(1), ..Setup::default() };
    let server = setup.start(vec![app()]);
    let begun = Instant::now();
    let mut clients = Vec::new();
    for part in ["", "G", "GET /app/reverb-key HTTP/1.1\r\n", HANDSHAKE] {
        let mut client = Raw::connect(&server).await;
        client.send(part.as_bytes()).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.rest().await;
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
    is_well(&server).await;
}

#[tokio::test]
async fn half_a_body_times_out() {
    let setup = Setup { handshake_timeout: Duration::from_secs(1), ..Setup::default() };
    let server = setup.start(vec![app()]);
    let mut client = Raw::connect(&server).await;
    let request = "POST /apps/123456/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    client.send(request.as_bytes()).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let server = start();
    let long = "x".repeat(100_000);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /up HTTP/1.1\r\nX: {long}\r\n\r\n"),
        format!("GET /up HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000)),
    ] {
        let mut client = Raw::connect(&server).await;
        // The server may close it before everything is sent.
        let _ = client.try_send(request.as_bytes()).await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    is_well(&server).await;
}

#[tokio::test]
async fn the_size_of_a_body_in_chunks_is_bounded_too() {
    let server = Setup { max_request_bytes: 1000, ..Setup::default() }.start(vec![app()]);
    let mut client = Raw::connect(&server).await;
    let request = "POST /apps/123456/events HTTP/1.1\r\nHost: x\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    client.send(request.as_bytes()).await;
    for _ in 0..2 {
        client.send(format!("3e8\r\n{}\r\n", "x".repeat(1000)).as_bytes()).await;
    }
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[tokio::test]
async fn breaches_of_the_standard_are_closed_with_its_codes() {
    let server = start();
    let unmasked = [0x81, 2, b'h', b'i'];
    let long_control = [header(true, PING, 126), vec![0; 130]].concat();
    let surrogate = frame(true, TEXT, b"\xed\xa0\x80");
    let split_text = [frame(false, TEXT, b"\xc3"), frame(true, CONTINUATION, b"x")].concat();
    for (name, bytes, code) in [
        ("unmasked", &unmasked[..], 1002),
        ("reserved bits", &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("unknown opcode", &frame(true, 3, b""), 1002),
        ("a fragment of a control frame", &frame(false, PING, b""), 1002),
        ("a long control frame", &long_control, 1002),
        ("a continuation of nothing", &frame(true, CONTINUATION, b"x"), 1002),
        (
            "a message inside another",
            &[frame(false, TEXT, b"x"), frame(true, TEXT, b"x")].concat(),
            1002,
        ),
        ("a close code of one byte", &frame(true, CLOSE, b"\x03"), 1002),
        ("a close code that must not be sent", &frame(true, CLOSE, b"\x03\xed"), 1002),
        ("invalid UTF-8", &frame(true, TEXT, b"\xff\xfe"), 1007),
        ("a surrogate", &surrogate, 1007),
        ("invalid UTF-8 over two fragments", &split_text, 1007),
        ("invalid UTF-8 in a binary message", &frame(true, BINARY, b"\xff"), 1007),
        ("a message too long", &frame(true, TEXT, &[b'x'; 100_001]), 1009),
    ] {
        let mut client = Raw::websocket(&server).await;
        client.send(bytes).await;
        let texts = client.expect_close(code).await;
        assert!(texts.is_empty(), "{name}: {texts:?}");
        // Later frames are ignored, except for a close frame.
        client.send_frame(TEXT, SUBSCRIBE).await;
        client.send_frame(CLOSE, b"").await;
        client.finish().await;
        client.expect_end().await;
    }
    is_well(&server).await;
    server.becomes_empty().await;
}

/// Memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_frame_of_a_gigabyte_is_refused_by_its_header() {
    let server = start();
    let before = resident();
    for opcode in [TEXT, BINARY] {
        for length in [1 << 30, 1 << 40, u64::MAX] {
            let mut client = Raw::websocket(&server).await;
            client.send(&header(true, opcode, length)).await;
            client.expect_close(1009).await;
        }
    }
    // Other tests of this process use memory too, but far less.
    let grown = resident().saturating_sub(before);
    assert!(grown < 300 << 20, "{grown} bytes");
}

#[tokio::test]
async fn endless_fragments_are_bounded() {
    let server = start();
    let mut client = Raw::websocket(&server).await;
    client.send(&frame(false, TEXT, &[b'x'; 1000])).await;
    for _ in 0..100 {
        client.send(&frame(false, CONTINUATION, &[b'x'; 1000])).await;
    }
    client.expect_close(1009).await;
}

#[tokio::test]
async fn a_frame_in_the_same_packet_as_the_handshake_works() {
    let server = start();
    let mut client = Raw::connect(&server).await;
    let handshake = format!("{HANDSHAKE}\r\n");
    client.send(&[handshake.as_bytes(), &frame(true, TEXT, SUBSCRIBE)].concat()).await;
    client.welcomed().await;
    subscribed(&mut client).await;
}

#[tokio::test]
async fn part_of_a_frame_in_the_same_packet_as_the_handshake_works() {
    let server = start();
    let frame = frame(true, TEXT, SUBSCRIBE);
    for split in [1, 2, 5, 20] {
        let mut client = Raw::connect(&server).await;
        let handshake = format!("{HANDSHAKE}\r\n");
        client.send(&[handshake.as_bytes(), &frame[..split]].concat()).await;
        client.welcomed().await;
        client.send(&frame[split..]).await;
        subscribed(&mut client).await;
    }
}

#[tokio::test]
async fn a_handshake_byte_by_byte_works() {
    let server = start();
    let mut client = Raw::connect(&server).await;
    for byte in format!("{HANDSHAKE}\r\n").bytes() {
        client.send(&[byte]).await;
    }
    client.welcomed().await;
}

#[tokio::test]
async fn frames_split_at_every_byte_work() {
    let server = start();
    let frame = frame(true, TEXT, SUBSCRIBE);
    let mut client = Raw::websocket(&server).await;
    for byte in &frame {
        client.send(&[*byte]).await;
    }
    subscribed(&mut client).await;
    for split in 1..frame.len() {
        let mut client = Raw::websocket(&server).await;
        client.send(&frame[..split]).await;
        client.send(&frame[split..]).await;
        subscribed(&mut client).await;
    }
}

#[tokio::test]
async fn coalesced_frames_work() {
    let server = start();
    let mut client = Raw::websocket(&server).await;
    let mut bytes = frame(true, TEXT, SUBSCRIBE);
    for n in 0..100_u8 {
        bytes.extend(frame(true, PING, &[n]));
    }
    client.send(&bytes).await;
    subscribed(&mut client).await;
    for n in 0..100 {
        assert_eq!(client.frame().await, (PONG, vec![n]));
    }
}

#[tokio::test]
async fn fragmented_and_binary_messages_work() {
    let server = start();
    let mut client = Raw::websocket(&server).await;
    let (one, two) = SUBSCRIBE.split_at(10);
    client.send(&frame(false, TEXT, one)).await;
    // A control frame may come between, and a fragment may be empty.
    client.send_frame(PING, b"between").await;
    assert_eq!(client.frame().await, (PONG, b"between".to_vec()));
    client.send(&frame(false, CONTINUATION, b"")).await;
    client.send(&frame(true, CONTINUATION, two)).await;
    subscribed(&mut client).await;
    let mut binary = Raw::websocket(&server).await;
    binary.send_frame(BINARY, SUBSCRIBE).await;
    subscribed(&mut binary).await;
}

#[tokio::test]
async fn hostile_handshakes_are_refused() {
    let server = start();
    let without = |name: &str| {
        HANDSHAKE
            .lines()
            .filter(|line| !line.starts_with(name))
            .fold(String::new(), |head, line| head + line + "\r\n")
    };
    for (head, status) in [
        (without("Upgrade"), "426"),
        (without("Connection"), "426"),
        (HANDSHAKE.replace("Version: 13", "Version: 8"), "426"),
        (HANDSHAKE.replace("dGhl", "dG"), "400"),
        (without("Sec-WebSocket-Key"), "400"),
        (HANDSHAKE.replace("GET", "POST"), "405"),
        (HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"), "426"),
    ] {
        let mut client = Raw::connect(&server).await;
        client.send(format!("{head}\r\n").as_bytes()).await;
        let answer = client.head().await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}\n{answer}");
    }
}

#[tokio::test]
async fn half_open_connections_do_not_stay() {
    let server = start();
    // The client's half ends without a close frame; its reset comes while something is unread.
    let mut finished = Raw::websocket(&server).await;
    finished.send_frame(TEXT, SUBSCRIBE).await;
    subscribed(&mut finished).await;
    finished.finish().await;
    finished.expect_end().await;
    let mut reset = Raw::websocket(&server).await;
    reset.send_frame(TEXT, SUBSCRIBE).await;
    subscribed(&mut reset).await;
    reset.reset();
    server.becomes_empty().await;
}

/// Reads the close frame of the drain. Returns its time of arrival.
async fn sent_away(mut client: Client, begun: Instant) -> Duration {
    let message: Message = client.next().await.unwrap();
    let at = begun.elapsed();
    let (code, _) = message.as_close().unwrap_or_else(|| panic!("{message:?}"));
    assert_eq!(u16::from(code), 4200);
    assert!(client.next().await.is_none());
    at
}

#[tokio::test]
async fn stopping_disconnects_clients_over_time() {
    let setup = Setup { drain: Duration::from_secs(1), ..Setup::default() };
    let mut server = setup.start(vec![app()]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.subscribe("x").await;
        clients.push(client);
    }
    let mut kept = HttpConnection::new(server.dial().await).await;
    assert_eq!(kept.request("GET", "/up", b"").await.status, 200);
    let begun = Instant::now();
    server.running().stop();
    let tasks: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(sent_away(client, begun))).collect();
    // New connections are refused.
    let address = server.address;
    eventually(|| std::net::TcpStream::connect(address).is_err()).await;
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.unwrap());
    }
    times.sort();
    let spread = times[19] - times[0];
    assert!(spread > Duration::from_millis(500), "{times:?}");
    assert!(times[19] < Duration::from_secs(5), "{times:?}");
    let stopped = server.server.take().unwrap();
    let waiting = tokio::task::spawn_blocking(move || stopped.wait());
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_while_stopping() {
    let mut server = start();
    let body = br#"{"name":"e","channel":"x","data":"{}"}"#;
    let target = server.api().sign("POST", "/events", &[], body);
    let mut client = Raw::connect(&server).await;
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await;
    // The server is waiting for the body.
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    let stopped = server.server.take().unwrap();
    stopped.stop();
    let address = server.address;
    eventually(|| std::net::TcpStream::connect(address).is_err()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.send(body).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    within(tokio::task::spawn_blocking(move || stopped.wait())).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_http_connections() {
    let mut server = start();
    let mut kept = HttpConnection::new(server.dial().await).await;
    assert_eq!(kept.request("GET", "/up", b"").await.status, 200);
    let stopped = server.server.take().unwrap();
    stopped.stop();
    within(tokio::task::spawn_blocking(move || stopped.wait())).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_clients_without_a_close_frame() {
    let mut server = start();
    let _silent = Raw::websocket(&server).await;
    let stopped = server.server.take().unwrap();
    stopped.stop();
    within(tokio::task::spawn_blocking(move || stopped.wait())).await.unwrap().unwrap();
}

#[tokio::test]
async fn disconnected_clients_leave_no_state() {
    let server = start_with(|app: &mut App| app.subscription_count = true);
    let mut clients = Vec::new();
    for n in 0..20 {
        let mut client = server.connect().await;
        client.sign_in(&json!({ "id": n.to_string() })).await;
        client.ask("presence-room", None).await;
        client.ask("news", None).await;
        client.ask("private-news", None).await;
        clients.push(client);
    }
    assert!(!server.running().is_empty());
    for (n, mut client) in clients.into_iter().enumerate() {
        match n % 3 {
            0 => drop(client),
            1 => client.send_message(Message::close(None, "")).await,
            _ => client.send_text(&"x".repeat(100_001)).await,
        }
    }
    server.becomes_empty().await;
}
