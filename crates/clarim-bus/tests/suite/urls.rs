//! The URLs of buses.

use clarim_bus::Bus;

use crate::servers::bus;

#[test]
fn an_invalid_url_is_refused_without_its_password() {
    for (url, code, sentence) in [
        ("localhost", "not_a_url", "expected for example redis://host:6379"),
        ("http://x", "unknown_scheme", "unknown scheme http://"),
        ("redis://", "missing_host", "expected for example redis://host"),
        ("redis://a,b", "several_hosts", "use redis-cluster:// for a Redis Cluster"),
        ("redis://:hush@host:99999999", "invalid_redis", "expected for example redis://user"),
        ("redis-sentinel://:hush@a:1", "missing_master", "redis-sentinel://host:26379/mymaster"),
        ("redis-sentinel://:hush@a:x/m", "invalid_redis", "not a Redis address"),
        ("nats://u:hush@?credentials=/no/file", "missing_host", "nats://host"),
        ("nats://:hush@host:x", "invalid_nats", "host:x is not a host with a port"),
        ("redis://host?ca=/no/file", "authority_without_tls", "use rediss:// or tls://"),
        ("nats://host?ca=/no/file", "authority_without_tls", "use rediss:// or tls://"),
        ("rediss://host?ca=/no/file", "unreadable_authority", "certificate authority /no/file"),
        ("tls://host?ca=/dev/null", "invalid_authority", "/dev/null contains no valid certificate"),
        (
            "nats://host?credentials=/no/file",
            "unreadable_credentials",
            "cannot read the credentials file /no/file: No such file",
        ),
    ] {
        let error = Bus::parse(url).unwrap_err();
        assert_eq!(error.code(), format!("bus_url_{code}"), "{url}: {error}");
        assert!(error.to_string().contains(sentence), "{url}: {error}");
        assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
    }
}

#[test]
fn debug_output_contains_no_password() {
    assert_eq!(format!("{:?}", bus("redis://:hush@host")), "Bus(redis)");
}
