//! Problems of the server's own machine: open files, and the bus.

use clarim_testing::{free_port, nats, redis, redis_with, wait_until};
use tempfile::TempDir;

use crate::support::{APP, AS_APP, Diagnosis, Nginx, Server, UPGRADE, doctor, doctor_by};

#[test]
fn too_few_open_files() {
    // The doctor does not find this server, and so tells of its own limit.
    let directory = TempDir::new().unwrap();
    let runtime = directory.path().display().to_string();
    let server = Server::start(&[("XDG_RUNTIME_DIR", runtime.as_str())]);
    let port = server.port.to_string();
    let more = [
        ("REVERB_SERVER_PORT", port.as_str()),
        ("REVERB_APP_MAX_CONNECTIONS", "1000"),
        ("CLARIM_WORKERS", "2"),
    ];
    let settings = [&APP[..], &more].concat();
    let limited = |limit: u32| {
        let script = format!("ulimit -n {limit}; exec {} \"$@\"", env!("CARGO_BIN_EXE_clarim"));
        doctor_by(&["sh", "-c", &script, "sh"], &[], &settings)
    };
    limited(500).has(&[
        "the apps may have 1000 connections (APP_MAX_CONNECTIONS), but 500 open files",
        "LimitNOFILE",
    ]);
    let diagnosis = limited(1100);
    diagnosis.is_without_problems();
    diagnosis.mentions(&["warning", "allow only 1000 connections"]);
}

#[test]
fn too_few_open_files_of_the_running_server() {
    let directory = TempDir::new().unwrap();
    let runtime = directory.path().display().to_string();
    let started = |limit: u32| {
        // The server raises the soft limit to the hard one.
        let limits = format!("ulimit -Sn 200 && ulimit -Hn {limit}");
        let script = format!("{limits} && exec {} \"$@\"", env!("CARGO_BIN_EXE_clarim"));
        let environment =
            [("XDG_RUNTIME_DIR", runtime.as_str()), ("REVERB_APP_MAX_CONNECTIONS", "1000")];
        let server = Server::start_by(&["sh", "-c", &script, "sh"], &environment);
        // The server writes it after it listens.
        let run_file = directory.path().join(format!("clarim/server-{}.pid", server.port));
        let is_written = || std::fs::read(&run_file).is_ok_and(|pid| pid.ends_with(b"\n"));
        wait_until("the process id is known", 20, is_written);
        server
    };
    // The limit of the doctor is higher than that of the server.
    let diagnose = |port: u16| {
        let port = port.to_string();
        let more = [
            ("XDG_RUNTIME_DIR", runtime.as_str()),
            ("REVERB_SERVER_PORT", &port),
            ("REVERB_APP_MAX_CONNECTIONS", "1000"),
            ("CLARIM_WORKERS", "2"),
        ];
        doctor(&[], &[&APP[..], &more].concat())
    };
    let server = started(300);
    let diagnosis = diagnose(server.port);
    diagnosis.has(&[
        "the apps may have 1000 connections (APP_MAX_CONNECTIONS), but 300 open files of the running server (process",
        "allow 200",
    ]);
    diagnosis.mentions(&["LimitNOFILE", "restart the server", "or lower APP_MAX_CONNECTIONS"]);
    diagnose(started(1100).port).is_without_problems();
}

#[test]
fn a_redis_that_cannot_be_used() {
    let redis = redis_with(&["--requirepass", "right"]);
    let port = redis.port.to_string();
    let diagnose = |port: &str, password: &str| {
        let more = [
            ("REVERB_SCALING_ENABLED", "true"),
            ("REVERB_SCALING_CHANNEL", "shop"),
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", port),
            ("REDIS_PASSWORD", password),
        ];
        doctor(&[], &[&APP[..], &more].concat())
    };
    diagnose(&port, "wrong").has(&["cannot be used", "REDIS_PASSWORD"]);
    diagnose(&free_port().to_string(), "right").has(&["cannot be used", "REDIS_HOST"]);
    // The prefix, which all nodes need, is shown.
    diagnose(&port, "right").mentions(&["redis is reachable, with the prefix \"shop\""]);
}

/// The diagnosis of a bus at this URL.
fn bus_at(url: &str) -> Diagnosis {
    let more = [("REVERB_SCALING_ENABLED", "true"), ("CLARIM_SCALING_URL", url)];
    doctor(&[], &[&APP[..], &more].concat())
}

#[test]
fn a_user_of_redis_without_the_rights() {
    let user = [
        "--user",
        "bus",
        "on",
        ">secret",
        "resetchannels",
        "-@all",
        "+hello",
        "+select",
        "+client",
    ];
    let diagnose = |rights: &[&str], password: &str| {
        let redis = redis_with(&[&user, rights].concat());
        bus_at(&format!("redis://bus:{password}@127.0.0.1:{}", redis.port))
    };
    let rights = ["redis cannot be used", "give the user +@pubsub", "all channels of the prefix"];
    diagnose(&["&*"], "secret").has(&rights);
    diagnose(&["+@pubsub", "&shop:*"], "secret").has(&rights);
    diagnose(&["+@pubsub", "&reverb:*"], "wrong")
        .has(&["redis cannot be used", "REDIS_USERNAME and REDIS_PASSWORD"]);
    diagnose(&["+@pubsub", "&reverb:*"], "secret")
        .mentions(&["redis is reachable, with the prefix \"reverb\" (0 nodes)"]);
}

#[test]
fn a_nats_that_cannot_be_used() {
    let nats = nats(&["--user", "bus", "--pass", "right"]);
    let at = |password: &str, port: u16| bus_at(&format!("nats://bus:{password}@127.0.0.1:{port}"));
    at("wrong", nats.port).has(&["nats cannot be used", "those in SCALING_URL"]);
    at("right", free_port()).has(&["nats cannot be used", "start it"]);
    at("right", nats.port)
        .mentions(&["nats is reachable, with the prefix \"reverb\"; it does not list"]);
}

#[test]
fn nodes_with_different_prefixes() {
    let redis = redis();
    let port = redis.port.to_string();
    let scaling = |channel: &'static str| {
        [
            ("REVERB_SCALING_ENABLED", "true"),
            ("REVERB_SCALING_CHANNEL", channel),
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", port.as_str()),
        ]
    };
    let diagnose = |node: u16| {
        let node = node.to_string();
        doctor(&[], &[&APP[..], &scaling("shop"), &[("REVERB_SERVER_PORT", &node)]].concat())
    };
    let same = [Server::start(&scaling("shop")), Server::start(&scaling("shop"))];
    same.iter().for_each(Server::wait_for_bus);
    let diagnosis = diagnose(same[0].port);
    diagnosis.is_without_problems();
    diagnosis.mentions(&["redis is reachable, with the prefix \"shop\" (2 nodes)"]);
    assert!(!diagnosis.text.contains("another prefix"), "{}", diagnosis.text);

    let other = Server::start(&scaling("store"));
    other.wait_for_bus();
    diagnose(same[0].port).mentions(&[
        "warning",
        "\"shop\" (2 nodes), but there are nodes with another prefix: \"store\" (1 node)",
        "set the same REVERB_SCALING_CHANNEL",
    ]);

    // Behind a load balancer events are missing, and the prefixes are reported as the cause.
    let servers =
        [&same[0], &other].map(|node| format!("server 127.0.0.1:{};", node.port)).concat();
    let site = format!("location / {{ proxy_pass http://nodes; {UPGRADE} }}");
    let nginx = Nginx::start(&site, &format!("upstream nodes {{ {servers} }}"));
    let diagnosis = doctor(
        &[&[nginx.url().as_str()], &AS_APP[..]].concat(),
        &[&APP[..], &scaling("shop")].concat(),
    );
    diagnosis.has(&["only 3 of 6 connections receive an event", "the same REVERB_SCALING_CHANNEL"]);
    diagnosis.mentions(&["there are nodes with another prefix: \"store\" (1 node)"]);
}
