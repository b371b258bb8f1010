use super::*;

fn read(typed: &[(&str, &str)]) -> Result<Settings, String> {
    let get = |name: &str| {
        typed.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Settings::from_variables(get).map_err(|error| error.to_string())
}

const APP: [(&str, &str); 3] =
    [("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "key"), ("REVERB_APP_SECRET", "secret")];

#[test]
fn the_variables_of_a_reverb_project_are_enough() {
    let mut typed = APP.to_vec();
    let settings = read(&typed).unwrap();
    assert_eq!(settings.connection, Connection::Http);
    assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 8080));
    typed.extend([
        ("BROADCAST_CONNECTION", "reverb"),
        ("REVERB_HOST", "ws.example.com"),
        ("REVERB_SCHEME", "https"),
        ("REVERB_SERVER_PATH", "ws/"),
        ("CLARIM_APP_ID", "2"),
    ]);
    let settings = read(&typed).unwrap();
    assert_eq!((settings.host.as_str(), settings.port), ("ws.example.com", 443));
    assert_eq!((settings.path.as_str(), settings.https), ("/ws", true));
    assert_eq!(settings.app_id, "2", "CLARIM_ takes precedence over REVERB_");
}

#[test]
fn pusher_has_its_own_variables() {
    let typed = [
        ("BROADCAST_CONNECTION", "pusher"),
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "key"),
        ("PUSHER_APP_SECRET", "secret"),
        ("PUSHER_APP_CLUSTER", "eu"),
    ];
    let settings = read(&typed).unwrap();
    assert_eq!((settings.host.as_str(), settings.port), ("api-eu.pusher.com", 443));
    assert!(settings.https);
}

#[test]
fn with_nothing_set_events_are_logged() {
    assert_eq!(read(&[]).unwrap().connection, Connection::Log);
    assert_eq!(read(&[("BROADCAST_CONNECTION", "null")]).unwrap().connection, Connection::Null);
}

#[test]
fn a_queue_has_a_url_that_fits_and_is_not_shown() {
    let queue = |typed: &[(&str, &str)]| read(typed).map(|settings| settings.queue);
    assert_eq!(queue(&[]).unwrap(), QueueConnection::Memory);
    let url = "postgres://u:secret@db/app";
    let postgres = [("QUEUE_CONNECTION", "postgres"), ("DATABASE_URL", url)];
    let found = queue(&postgres).unwrap();
    assert_eq!(found, QueueConnection::Postgres(url.to_owned()));
    assert_eq!(format!("{found:?}"), "Postgres");
    let default = QueueConnection::Sqlite("sqlite:queue.sqlite".to_owned());
    assert_eq!(queue(&[("QUEUE_CONNECTION", "sqlite")]).unwrap(), default);
    let both = [("QUEUE_CONNECTION", "database"), ("CLARIM_QUEUE_CONNECTION", "redis")];
    let default = QueueConnection::Redis("redis://127.0.0.1:6379/0".to_owned());
    assert_eq!(queue(&both).unwrap(), default, "CLARIM_ takes precedence");
    let parts = [("QUEUE_CONNECTION", "redis"), ("REDIS_HOST", "r"), ("REDIS_PASSWORD", "p")];
    let named = QueueConnection::Redis("redis://:p@r:6379/0".to_owned());
    assert_eq!(queue(&parts).unwrap(), named);
    assert_eq!(
        queue(&[("QUEUE_CONNECTION", "sqlite"), ("DATABASE_URL", url)]).unwrap_err(),
        "DATABASE_URL: for this QUEUE_CONNECTION it must begin with sqlite:"
    );
    assert_eq!(
        queue(&both[..1]).unwrap_err(),
        "QUEUE_CONNECTION: \"database\" does not say which database; write sqlite or postgres, with DATABASE_URL"
    );
    assert_eq!(
        queue(&[("QUEUE_CONNECTION", "sync")]).unwrap_err(),
        "QUEUE_CONNECTION: \"sync\" is not a queue here; write memory, and broadcast with .now() or #[broadcast(now)]"
    );
    assert_eq!(
        queue(&[("QUEUE_CONNECTION", "sqs")]).unwrap_err(),
        "QUEUE_CONNECTION: \"sqs\" is unknown; expected memory, sqlite, postgres or redis"
    );
}

#[test]
fn errors_name_the_variable_and_the_expected_value() {
    let with =
        |more: &[(&'static str, &'static str)]| read(&[&APP[..], more].concat()).unwrap_err();
    assert_eq!(
        with(&[("BROADCAST_CONNECTION", "redsi")]),
        "BROADCAST_CONNECTION: \"redsi\" is unknown; expected reverb, pusher, embedded, redis, nats, log or null"
    );
    assert_eq!(
        with(&[("REVERB_PORT", "80a")]),
        "REVERB_PORT: \"80a\" is not a port; expected a number from 1 to 65535"
    );
    assert_eq!(
        with(&[("REVERB_SCHEME", "ws")]),
        "REVERB_SCHEME: \"ws\" is unknown; expected http or https"
    );
    let key = with(&[("PUSHER_ENCRYPTION_MASTER_KEY_BASE64", "secret-but-short")]);
    assert!(key.starts_with("PUSHER_ENCRYPTION_MASTER_KEY_BASE64: is not 32 bytes"), "{key}");
    assert!(!key.contains("secret-but-short"));
    let missing = read(&[("BROADCAST_CONNECTION", "reverb")]).unwrap_err();
    assert!(missing.starts_with("REVERB_APP_KEY: is missing"), "{missing}");
}
