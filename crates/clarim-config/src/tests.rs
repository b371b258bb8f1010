use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use clarim_server::config::ServerConfig;
use clarim_server::{App, ClientEvents, HistoryRule, Limits, Origins};
use tempfile::TempDir;

use super::*;

mod laravel;
mod laravel_config;

/// A working directory with files, and variables.
struct Case {
    directory: TempDir,
    environment: Vec<(String, String)>,
    flags: Flags,
}

fn case() -> Case {
    let directory = tempfile::tempdir().unwrap();
    Case { directory, environment: Vec::new(), flags: Flags::default() }
}

/// A case with an app, so that it is not in development mode.
fn case_with_app() -> Case {
    case().var("REVERB_APP_ID", "1").var("REVERB_APP_KEY", "key").var("REVERB_APP_SECRET", "hush!")
}

impl Case {
    fn var(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        let sources = ConfigSources::new(self.directory.path(), self.environment.clone());
        Config::load(&self.flags, &sources.with_databases(|_| None))
    }

    fn settings(&self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The problems, without the directory's name.
    fn problems(&self) -> String {
        let directory = format!("{}/", self.directory.path().display());
        let text = self.load().unwrap_err().to_string().replace(&directory, "");
        assert!(!text.contains("hush!"), "a secret in {text}");
        text
    }
}

const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"key\"\nsecret = \"hush!\"\n";

#[test]
fn the_strongest_source_wins() {
    let mut case = case_with_app().file("clarim.toml", "[server]\nport = 1\nhost = 'a'\n");
    let port = |case: &Case| case.settings().server.port;
    assert_eq!((port(&case), case.settings().server.host.as_str()), (1, "a"));
    case = case.file(".env", "REVERB_SERVER_PORT=2\n");
    assert_eq!(port(&case), 2);
    case = case.file(".env", "CLARIM_SERVER_PORT=3\nREVERB_SERVER_PORT=2\n");
    assert_eq!(port(&case), 3);
    case = case.var("REVERB_SERVER_PORT", "4");
    assert_eq!(port(&case), 4);
    case = case.var("CLARIM_SERVER_PORT", "5");
    assert_eq!(port(&case), 5);
    case.flags.port = Some("6".to_owned());
    assert_eq!(port(&case), 6);
}

#[test]
fn defaults_are_those_of_the_hub_and_of_reverb() {
    let settings = case_with_app().settings();
    let app = &settings.apps[0];
    let server = &settings.server;
    assert_eq!(app.limits, Limits::default());
    let plain = App::new("1", "key", "hush!");
    assert_eq!(format!("{app:?}"), format!("{plain:?}"));
    let expected = ServerConfig::default().host("0.0.0.0").workers(server.workers);
    assert_eq!(format!("{server:?}"), format!("{expected:?}"));
    assert!(!settings.is_development() && settings.warnings.is_empty());
}

#[test]
fn a_file_keeps_the_histories_of_a_single_node() {
    let case = case_with_app().var("CLARIM_HISTORY_PATH", "history.db");
    let settings = case.settings();
    let path = case.directory.path().join("history.db");
    assert_eq!(settings.server.history_path, Some(path));
    let [warning] = &settings.warnings[..] else { panic!("{:?}", settings.warnings) };
    assert!(warning.contains("no app has history rules. Add some with APP_HISTORY"), "{warning}");
    let case = case.var("CLARIM_APP_HISTORY", "news:100:60s");
    assert!(case.settings().warnings.is_empty());
    let problems = case.var("CLARIM_SCALING_URL", "nats://127.0.0.1").problems();
    assert!(problems.contains("CLARIM_HISTORY_PATH in the environment: is for a single node"));
    assert_eq!(problems.lines().count(), 1, "{problems}");
    // In the current directory.
    let case = case_with_app().var("CLARIM_HISTORY_PATH", "history.db");
    let sources = ConfigSources::new("", case.environment.clone()).with_databases(|_| None);
    let settings = Config::load(&case.flags, &sources).unwrap();
    assert_eq!(settings.server.history_path, Some("history.db".into()));
    for (path, told) in [
        ("missing/history.db", "is in missing, which is not a directory; create it"),
        ("there", "is the directory there; name a file in it"),
    ] {
        let case = case_with_app().var("CLARIM_HISTORY_PATH", path);
        fs::create_dir(case.directory.path().join("there")).unwrap();
        let problems = case.problems();
        assert!(problems.contains(told), "{problems}");
    }
}

#[test]
fn the_dot_env_of_the_tutorial_is_sufficient() {
    let settings = case()
        .file(
            ".env",
            "# Broadcasting\nBROADCAST_CONNECTION=reverb\n\n# Reverb Configuration\n\
             REVERB_APP_ID=my-app-id\nREVERB_APP_KEY=my-app-key\nREVERB_APP_SECRET=my-app-secret\n\
             REVERB_HOST=\"localhost\"\nREVERB_PORT=8080\nREVERB_SCHEME=http\n\n\
             # Para o frontend (Vite)\nVITE_REVERB_APP_KEY=\"${REVERB_APP_KEY}\"\n\
             VITE_REVERB_HOST=\"${REVERB_HOST}\"\nVITE_REVERB_PORT=\"${REVERB_PORT}\"\n\
             VITE_REVERB_SCHEME=\"${REVERB_SCHEME}\"\n",
        )
        .settings();
    assert_eq!(
        (settings.apps[0].id.as_str(), settings.apps[0].key.key()),
        ("my-app-id", "my-app-key")
    );
    assert_eq!(settings.public.hostname.as_deref(), Some("localhost"));
    assert_eq!(settings.public.port, Some(8080));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn empty_and_null_values_of_laravel_set_nothing() {
    let settings = case_with_app()
        .var("REVERB_SERVER_PATH", "")
        .var("REVERB_APP_MAX_CONNECTIONS", "null")
        .var("REVERB_HOST", "(null)")
        .var("REVERB_APP_RATE_LIMITING_ENABLED", "(false)")
        .settings();
    assert_eq!(settings.server.path, "");
    assert_eq!(settings.public.hostname, None);
    assert_eq!(settings.apps[0].limits.connections, None);
    assert_eq!(settings.apps[0].rate_limit, None);
}

#[test]
fn variables_of_reverb_without_meaning_are_ignored_silently() {
    let case = case_with_app()
        .var("REVERB_SERVER", "reverb")
        .var("REVERB_PULSE_INGEST_INTERVAL", "15")
        .var("REVERB_TELESCOPE_INGEST_INTERVAL", "15")
        .var("VITE_REVERB_APP_KEY", "key");
    assert!(case.settings().warnings.is_empty());
}

#[test]
fn misspelled_names_are_refused_and_other_variables_are_not() {
    for (name, what) in [
        ("CLARIM_SERVER_PROT", "is not a setting; did you mean CLARIM_SERVER_PORT?"),
        ("CLARIM_APP_SECRETS", "is not a setting; did you mean CLARIM_APP_SECRET?"),
        ("CLARIM_ZZZZZZZZZZZZZ", "is not a setting; `clarim config --help` lists all settings"),
    ] {
        let problem = format!("{name} in the environment: {what}");
        assert_eq!(case_with_app().var(name, "hush!").problems(), problem);
    }
    let warnings = case_with_app().var("REVERB_APP_KEY_2", "x").settings().warnings;
    assert_eq!(warnings, ["REVERB_APP_KEY_2 in the environment: not a setting of Clarim, ignored"]);
    let warnings = case_with_app().var("REVERB_SERVER_PROT", "1").settings().warnings;
    assert_eq!(
        warnings,
        [
            "REVERB_SERVER_PROT in the environment: not a setting of Clarim, ignored; did you mean REVERB_SERVER_PORT?"
        ]
    );
}

#[test]
fn the_toml_file_sets_everything() {
    let settings = case()
        .file(
            "clarim.toml",
            "[server]\nport = 9_000\npath = \"ws/\"\nhostname = \"x.test\"\nscheme = \"https\"\n\
             public_port = 443\ndebug = true\nlog_level = 'warn'\ndrain_seconds = 0\n\n\
             [[apps]]\nid = 7\nkey = \"key\"\nsecret = \"hush!\"\nallowed_origins = [\"a.test\", \"*.b.test\"]\n\
             ping_interval = 10\nmax_connections = 5\naccept_client_events_from = \"none\"\n\
             rate_limiting_enabled = true\nrate_limit_max_attempts = 3\nmax_event_size = 50\n\n\
             [[apps]]\nid = \"8\"\nkey = \"other\"\nsecret = \"hush!\"\n",
        )
        .settings();
    let server = &settings.server;
    let app = &settings.apps[0];
    assert_eq!((server.port, server.path.as_str(), settings.public.port), (9000, "/ws", Some(443)));
    assert_eq!((settings.public.scheme, settings.log.level), (Scheme::Https, LogLevel::Warn));
    assert_eq!((settings.log.debug, server.drain), (true, Duration::ZERO));
    assert_eq!((app.id.as_str(), settings.apps[1].id.as_str()), ("7", "8"));
    assert_eq!(app.origins, Origins::new(["a.test", "*.b.test"]));
    assert_eq!((app.ping_interval.as_secs(), app.limits.connections), (10, Some(5)));
    assert_eq!((app.client_events, app.limits.event_data_bytes), (ClientEvents::None, 50));
    assert_eq!(app.rate_limit.unwrap().max_attempts, 3);
}

#[test]
fn problems_of_the_toml_file_have_line_numbers() {
    let case = |text: &str| case().file("clarim.toml", text).problems();
    assert_eq!(
        case(&format!(
            "port = 1\n[sever]\n{APP}max_conections = 1\nallowed_origins = []\ndebug = 1.5\n"
        )),
        "apps[0].allowed_origins in clarim.toml line 8: is empty, which allows no page to connect; \
         list hosts or remove it\n\
         apps[0].debug in clarim.toml line 9: is not a setting; `clarim config --help` lists all settings\n\
         apps[0].max_conections in clarim.toml line 7: is not a setting; did you mean max_connections?\n\
         port in clarim.toml line 1: belongs below [server]\n\
         sever in clarim.toml line 2: is not a table of this file; did you mean server?"
    );
    let text = case("[[apps]]\nid = \"1\"\nsecret = \"hush!\nkey = 1\n");
    assert!(text.starts_with("clarim.toml line 3: is not TOML: "), "{text}");
    let text = case("[server]\nport = [\"a\"]\nworkers = 2.5\n");
    assert!(
        text.contains("server.workers in clarim.toml line 3: has the type float; expected a whole number of threads from 1 to 1024"),
        "{text}"
    );
    let mut missing = case_with_app();
    missing.flags.config = Some("other.toml".into());
    assert!(missing.problems().starts_with("other.toml: cannot be read: "));
}

#[test]
fn all_problems_are_reported_at_once() {
    let case = case_with_app().var("CLARIM_SERVER_PORT", "80a").var("CLARIM_WORKERS", "0").file(
        ".env",
        "\nREVERB_APP_ACTIVITY_TIMEOUT=0\nCLARIM_LOG_LEVEL=loud\nCLARIM_DEBUG=maybe\n",
    );
    let problems = case.problems();
    assert_eq!(
        problems,
        "CLARIM_SERVER_PORT in the environment: \"80a\" is not a number; expected a port number from 0 to 65535\n\
         CLARIM_WORKERS in the environment: 0 is out of range; expected a whole number of threads from 1 to 1024\n\
         CLARIM_LOG_LEVEL in .env line 3: \"loud\" is unknown; expected one of error, warn, info, debug, trace\n\
         CLARIM_DEBUG in .env line 4: \"maybe\" is not a boolean; expected true or false\n\
         REVERB_APP_ACTIVITY_TIMEOUT in .env line 2: 0 is out of range; expected a whole number of seconds from 1 to 86400"
    );
}

#[test]
fn contradictions_name_the_key_and_the_remedy() {
    for (name, value, what) in [
        ("CLARIM_TLS_CERT", "c.pem", "also needs CLARIM_TLS_KEY; set both or neither"),
        ("REVERB_TLS_KEY", "k.pem", "also needs REVERB_TLS_CERT; set both or neither"),
        ("REVERB_APP_PING_INTERVAL", "0", "0 is out of range"),
        ("REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS", "0", "0 is out of range"),
        ("REVERB_APP_RATE_LIMIT_DECAY_SECONDS", "0", "0 is out of range"),
        ("REVERB_APP_MAX_CONNECTIONS", "-1", "\"-1\" is not a number"),
        (
            "REVERB_APP_MAX_EVENT_SIZE",
            "250000",
            "fit neither into a request (MAX_REQUEST_SIZE 240000)",
        ),
        ("REVERB_APP_MAX_PRESENCE_MEMBER_SIZE", "200000", "do not fit into a message"),
        ("REVERB_APP_ALLOWED_ORIGINS", " , ", "has no items"),
        ("REVERB_APP_ALLOWED_ORIGINS", "a.test,two words", r#""two words" is not a host"#),
        ("CLARIM_APP_CLIENT_EVENT_DATA", "text", "expected one of string, unchanged"),
        ("REVERB_SERVER_HOST", "http://x", "without scheme, port or path"),
        ("CLARIM_HOST", "x:80", "without scheme, port or path"),
        ("REVERB_SERVER_PATH", "a b", "is not a path"),
    ] {
        let problems = case_with_app().var(name, value).problems();
        let at = format!("{name} in the environment: ");
        assert!(problems.starts_with(&at) && problems.contains(what), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    let outbox = case_with_app().var("CLARIM_OUTBOX_SIZE", "5000").problems();
    assert!(outbox.contains("raise OUTBOX_SIZE"), "{outbox}");
    let reverb = case_with_app().var("REVERB_MAX_REQUEST_SIZE", "10000");
    reverb.var("REVERB_APP_MAX_MESSAGE_SIZE", "10000").settings();
}

#[test]
fn an_app_is_named_in_full() {
    assert_eq!(
        case().file(".env", "REVERB_APP_KEY=k\n").problems(),
        "REVERB_APP_KEY in .env line 1: REVERB_APP_ID and REVERB_APP_SECRET are missing; an app \
         needs an id, a key and a secret (`clarim app new` generates them)"
    );
    assert_eq!(
        case().file("clarim.toml", "[[apps]]\n").problems(),
        "apps[0] in clarim.toml line 1: id and key and secret are missing; an app needs an id, a \
         key and a secret (`clarim app new` generates them)"
    );
    for (key, secret, what) in [
        ("k\ny", "x", "REVERB_APP_KEY in the environment: contains a control character"),
        ("ключ", "x", "REVERB_APP_KEY in the environment: is part of request paths"),
        ("key", "hush!\n", "REVERB_APP_SECRET in the environment: contains a control character"),
    ] {
        let case = case().var("REVERB_APP_ID", "1").var("REVERB_APP_KEY", key);
        let problems = case.var("REVERB_APP_SECRET", secret).problems();
        assert!(problems.starts_with(what), "{problems}");
    }
}

#[test]
fn apps_with_the_same_id_are_refused() {
    assert_eq!(
        case().file("clarim.toml", &format!("{APP}{}", APP.replace("key\"", "k2\""))).problems(),
        "apps[1] in clarim.toml line 5: has the same id as apps[0] in clarim.toml line 1; give each app its own"
    );
    let other = case().file("clarim.toml", APP).var("CLARIM_APP_ID", "2");
    let problems = other.problems();
    assert!(
        problems.starts_with("CLARIM_APP_ID in the environment: names another app than apps[0]"),
        "{problems}"
    );
    let same = case_with_app().file("clarim.toml", APP).var("REVERB_APP_PING_INTERVAL", "5");
    assert_eq!(same.settings().apps[0].ping_interval.as_secs(), 60);
    assert_eq!(
        same.settings().warnings,
        [
            "REVERB_APP_PING_INTERVAL in the environment: ignored, because the apps are in the TOML file"
        ]
    );
}

#[test]
fn a_limit_of_connections_in_a_cluster_counts_per_node() {
    let limited = case_with_app().var("REVERB_APP_MAX_CONNECTIONS", "100");
    assert!(limited.settings().warnings.is_empty());
    let warnings = limited.var("REVERB_SCALING_ENABLED", "true").settings().warnings;
    assert!(warnings[0].contains("APP_MAX_CONNECTIONS counts the connections of each node"));
    let unlimited = case_with_app().var("REVERB_SCALING_ENABLED", "true");
    assert!(unlimited.settings().warnings.is_empty());
}

#[test]
fn without_an_app_a_development_app_is_created_once() {
    let case = case();
    let directory = case.directory.path();
    let from = ConfigSources::new(directory, []);
    let checked = Config::check(&Flags::default(), &from).unwrap();
    assert!(checked.is_development() && checked.apps.is_empty());
    assert!(!directory.join(".clarim").exists(), "a check writes nothing");
    let first = case.settings();
    let file = directory.join(".clarim/app.toml");
    assert_eq!(first.development.as_deref(), Some(file.as_path()));
    assert_eq!(first.server.host, "127.0.0.1");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(directory.join(".clarim/.gitignore")).unwrap(), "*\n");
    let app = &first.apps[0];
    assert!(app.id.len() == 6 && app.id.bytes().all(|b| b.is_ascii_digit()));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    assert!(app.key.key().len() == 20 && app.key.key().bytes().all(plain));
    let second = case.var("REVERB_APP_PING_INTERVAL", "9").settings();
    assert_eq!(second.apps[0].key.key(), app.key.key());
    assert_eq!(second.apps[0].ping_interval.as_secs(), 9);
}

#[test]
fn a_development_app_that_cannot_be_saved_is_a_problem() {
    let case = case().file("taken", "").var("CLARIM_STATE_DIR", "taken");
    let problems = case.problems();
    assert!(problems.contains("set CLARIM_STATE_DIR to"), "{problems}");
    let broken =
        self::case().var("CLARIM_STATE_DIR", ".").file("app.toml", "secret = \"hush!\nid=");
    assert!(broken.problems().contains("app.toml: does not contain id, key and secret"));
}

#[test]
fn secrets_are_not_printed() {
    let case = case_with_app().file("clarim.toml", APP);
    let from = ConfigSources::new(case.directory.path(), case.environment.clone());
    let text = format!("{:?}{from:?}{:?}", case.settings(), from.read(&case.flags));
    assert!(text.contains("key") && !text.contains("hush!"), "{text}");
    assert!(!format!("{:?}", Credentials::random().unwrap()).contains("secret:"));
}

#[test]
fn webhooks_are_urls_or_tables() {
    let file = "[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'\nwebhooks = ['https://a.example', \
        { url = 'https://b.example/x', channels = ['private-'], headers = { Authorization = 'hush' } }]\n";
    let settings = case().file("clarim.toml", file).load().unwrap();
    let [first, second] = &settings.server.webhooks["1"][..] else { panic!("two are expected") };
    assert_eq!((first.channels.len(), &second.channels[0][..]), (0, "private-"));
    let row = settings.rows.iter().find(|row| row.name == "APP_WEBHOOKS").unwrap();
    assert_eq!(row.value, "https://a.example/, https://b.example/x");
    let wrong = file.replace("channels", "chanels");
    let error = case().file("clarim.toml", &wrong).load().unwrap_err().to_string();
    assert!(error.contains("webhooks") && error.contains("unknown field `chanels`"), "{error}");
}

#[test]
fn history_rules_are_texts_or_tables() {
    let mut rule = HistoryRule::new("private-*");
    rule.messages = 500;
    rule.rewind = 5;
    let texts = case_with_app().var("CLARIM_APP_HISTORY", "private-*:500:120s:rewind=5");
    let settings = texts.settings();
    assert_eq!(settings.apps[0].history, [rule.clone()]);
    let dot_env = case_with_app().file(".env", "REVERB_APP_HISTORY='private-*:500:2m:rewind=5'\n");
    assert_eq!(dot_env.settings().apps[0].history, [rule.clone()]);
    let file = format!(
        "{APP}\n[[apps.history]]\npattern = 'private-*'\nmessages = 500\nrewind = 5\n\n\
         [[apps.history]]\npattern = '*'\nttl = '1h'\nclient_events = true\n"
    );
    let settings = case().file("clarim.toml", &file).settings();
    assert_eq!(settings.apps[0].history.first(), Some(&rule));
    assert_eq!(settings.apps[0].history.len(), 2);
    let row = settings.rows.iter().find(|row| row.name == "APP_HISTORY").unwrap();
    assert_eq!(row.value, "private-*:500:120s:rewind=5, *:100:3600s:client_events");
    let mixed = file.replace("[[apps.history]]\npattern = '*'", "[[apps.history]]\nptrn = '*'");
    assert_eq!(
        case().file("clarim.toml", &mixed).problems(),
        "apps[0].history in clarim.toml line 6: rule 2: has no pattern; set pattern to the names of channels, with * for any characters"
    );
    assert!(case_with_app().settings().apps[0].history.is_empty());
}

#[test]
fn settings_that_were_replaced_name_the_new_one() {
    for (name, by) in [
        ("CLARIM_APP_MAX_CHANNEL_NAME_LENGTH", "CLARIM_APP_MAX_NAME_LENGTH"),
        ("REVERB_APP_MAX_EVENT_NAME_LENGTH", "REVERB_APP_MAX_NAME_LENGTH"),
        ("CLARIM_APP_MAX_CHANNELS_PER_EVENT", "CLARIM_APP_MAX_EVENTS_PER_BATCH"),
    ] {
        let problem = format!("{name} in the environment: no longer exists; set {by} instead");
        assert_eq!(case_with_app().var(name, "7").problems(), problem);
    }
    let problems =
        case().file("clarim.toml", &format!("{APP}max_channel_name_length = 7\n")).problems();
    assert_eq!(
        problems,
        "apps[0].max_channel_name_length in clarim.toml line 5: no longer exists; set max_name_length instead"
    );
    let limits = &case_with_app()
        .var("CLARIM_APP_MAX_NAME_LENGTH", "7")
        .var("CLARIM_APP_MAX_EVENTS_PER_BATCH", "8")
        .settings()
        .apps[0]
        .limits;
    assert_eq!((limits.channel_name_bytes, limits.event_name_bytes), (7, 7));
    assert_eq!((limits.channels_per_event, limits.events_per_batch), (8, 8));
}

#[test]
fn with_a_database_no_development_app_is_created() {
    let url = "postgres://ana:hush!@db/apps";
    let case = case().var("CLARIM_APPS_DATABASE_URL", url).var("REVERB_APP_PING_INTERVAL", "9");
    let settings = case.settings();
    assert!(!settings.is_development() && settings.apps.is_empty());
    assert!(!case.directory.path().join(".clarim").exists());
    assert_eq!(settings.server.host, "0.0.0.0");
    let warning = "REVERB_APP_PING_INTERVAL in the environment: ignored, because the apps are in the database";
    assert_eq!(settings.warnings, [warning]);
    let row = settings.rows.iter().find(|row| row.name == "APPS_DATABASE_URL").unwrap();
    assert_eq!(row.value, "(set, not shown)");
    assert!(!format!("{settings:?}").contains("hush!"));
    let settings =
        self::case().var("CLARIM_APPS_DATABASE_URL", "sqlite:apps.db").file("clarim.toml", APP);
    assert_eq!(settings.settings().apps.len(), 1);
    let toml = "[server]\napps_database_url = \"postgres://ana:hush!@@db/apps\"\n";
    let problems = self::case().file("clarim.toml", toml).problems();
    let place = "server.apps_database_url in clarim.toml line 2: has an @ in the wrong place";
    assert!(problems.starts_with(place), "{problems}");
}

#[test]
fn a_database_is_refused_by_a_program_that_opens_none() {
    let case = case().var("CLARIM_APPS_DATABASE_URL", "postgres://ana:hush!@db/apps");
    let sources = ConfigSources::new(case.directory.path(), case.environment.clone());
    let error = Config::load(&case.flags, &sources).unwrap_err().to_string();
    assert!(error.contains("supported by the program `clarim` only"), "{error}");
    assert!(!error.contains("hush!"), "{error}");
}
