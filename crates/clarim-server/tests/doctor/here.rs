//! What is wrong on the server's own machine: open files, and the bus.

use clarim_testing::{free_port, redis_with};

use crate::support::{APP, Server, doctor, doctor_by};

#[test]
fn too_few_open_files() {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let more = [("REVERB_SERVER_PORT", port.as_str()), ("REVERB_APP_MAX_CONNECTIONS", "1000")];
    let settings = [&APP[..], &more].concat();
    let limited = |limit: u32| {
        let script = format!("ulimit -n {limit}; exec {} \"$@\"", env!("CARGO_BIN_EXE_clarim"));
        doctor_by(&["sh", "-c", &script, "sh"], &[], &settings)
    };
    limited(500).has(&["MAX_CONNECTIONS adds up to 1000, but 500 open files", "LimitNOFILE"]);
    let said = limited(1100);
    said.all_is_well();
    said.mentions(&["warning", "room for 1000 connections only"]);
}

#[test]
fn a_redis_that_cannot_be_used() {
    let redis = redis_with(&["--requirepass", "right"]);
    let port = redis.port.to_string();
    let told = |port: &str, password: &str| {
        let more = [
            ("REVERB_SCALING_ENABLED", "true"),
            ("REVERB_SCALING_CHANNEL", "shop"),
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", port),
            ("REDIS_PASSWORD", password),
        ];
        doctor(&[], &[&APP[..], &more].concat())
    };
    told(&port, "wrong").has(&["cannot be used", "REDIS_PASSWORD"]);
    told(&free_port().to_string(), "right").has(&["cannot be used", "REDIS_HOST"]);
    // What nodes must have in common is told.
    told(&port, "right").mentions(&["redis answers; names begin with \"shop\""]);
}
