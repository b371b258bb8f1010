//! What a Laravel application has beside the server: its `.env` and its environment.

use super::*;

#[test]
fn a_broken_line_of_dot_env_is_a_problem_only_if_it_is_a_setting() {
    let settings = case_with_app()
        .file(".env", "A=1\nAPP_NAME=My App\n\nB=\"x\ny\"\nREVERB_SERVER_PORT=81\nREVERB_X=a b\n")
        .settings();
    assert_eq!(settings.server.port, 81);
    let [name, other] = &settings.warnings[..] else { panic!("{:?}", settings.warnings) };
    assert!(name.starts_with("APP_NAME in .env line 2: has text after its value"), "{name}");
    assert!(other.starts_with("REVERB_X in .env line 7: has text after its value"), "{other}");
    let problems = case().file(".env", "A=1\n\nREVERB_APP_SECRET=hush! x\n").problems();
    assert!(
        problems.starts_with("REVERB_APP_SECRET in .env line 3: has text after its value"),
        "{problems}"
    );
    let problems = case().file(".env", "CLARIM_X='hush!\n").problems();
    assert!(problems.starts_with("CLARIM_X in .env line 1: has no closing quote"), "{problems}");
}

#[test]
fn a_line_above_the_block_changes_nothing_of_it() {
    const BLOCK: &str =
        "REVERB_APP_ID=1\nREVERB_APP_KEY=key\nREVERB_APP_SECRET=hush!\nREVERB_HOST=\"localhost\"\n";
    for line in [
        "DB_PASSWORD=ab'cd",
        "DB_PASSWORD=ab\"cd",
        "DB_PASSWORD='ab\"cd",
        "DB_PASSWORD=\"abcd",
        "DB_PASSWORD=ab\\",
        "DB_PASSWORD=\"C:\\Users\"",
        "DB_PASSWORD=a b c",
        "My Application",
        "=",
        "# it's \"quoted",
        "# A=\"b",
        "MAIL=\"${MAIL",
    ] {
        let settings = case().file(".env", &format!("{line}\n{BLOCK}")).settings();
        assert!(!settings.is_development(), "{line}");
        let twin = App::new("1", "key", "hush!");
        assert_eq!(settings.apps, [twin], "{line}");
    }
}

#[test]
fn settings_inside_of_a_value_with_several_lines_are_reported() {
    let settings =
        case_with_app().file(".env", "DB=\"open\nREVERB_SERVER_PORT=81\nMAIL=\"\n").settings();
    assert_eq!(settings.server.port, 8080);
    assert_eq!(
        settings.warnings,
        [
            ".env line 1: the value of DB ends in line 3 and contains REVERB_SERVER_PORT=…, which is therefore not \
          set; close the quote before it"
        ]
    );
}

#[test]
fn a_dollar_in_dot_env_means_the_same_as_in_laravel() {
    let settings = case()
        .var("FROM_PROCESS", "y")
        .file(
            ".env",
            "NAME=x\nREVERB_APP_ID=\"a-${NAME}\"\nREVERB_APP_KEY=k-${FROM_PROCESS}\nREVERB_APP_SECRET=ab$NAME\n",
        )
        .settings();
    assert_eq!(settings.apps, [App::new("a-x", "k-y", "ab$NAME")]);
}

#[test]
fn words_of_laravel_are_read_in_any_case() {
    let settings = case_with_app()
        .var("REVERB_HOST", "NULL")
        .var("REVERB_SERVER_PATH", "(Empty)")
        .var("REVERB_DEBUG", "(TRUE)")
        .var("REVERB_APP_MAX_CONNECTIONS", "Null")
        .settings();
    assert_eq!((settings.public.hostname, settings.server.path.as_str()), (None, ""));
    assert!(settings.log.debug);
    assert_eq!(settings.apps[0].limits.connections, None);
    let quoted = case_with_app().var("REVERB_HOST", "\"x.test\"").settings();
    assert_eq!(quoted.public.hostname.as_deref(), Some("x.test"), "docker run --env-file");
}

#[test]
fn an_environment_has_its_own_file() {
    let files = || {
        case_with_app()
            .file(".env", "REVERB_SERVER_PORT=1\nAPP_ENV=staging\n")
            .file(".env.production", "REVERB_SERVER_PORT=2\n")
            .file(".env.staging", "REVERB_SERVER_PORT=3\n")
    };
    let port = |case: &Case| case.settings().server.port;
    assert_eq!(port(&files()), 1, "APP_ENV counts in the environment only");
    assert_eq!(port(&files().var("APP_ENV", "production")), 2);
    assert_eq!(port(&files().var("APP_ENV", "local")), 1);
    let mut flag = files().var("APP_ENV", "production");
    flag.flags.env = Some("staging".to_owned());
    assert_eq!(port(&flag), 3);
    assert!(flag.settings().files[0].ends_with(".env.staging"));
    flag.flags.env = Some("other".to_owned());
    let settings = flag.settings();
    assert_eq!(settings.server.port, 2);
    assert_eq!(settings.warnings, ["--env: .env.other does not exist, so .env.production is read"]);
    let wrong = files().file(".env.staging", "CLARIM_X=1").var("APP_ENV", "staging").problems();
    assert!(wrong.starts_with("CLARIM_X in .env.staging line 1: "), "{wrong}");
}

#[test]
fn a_deployment_never_starts_in_development_mode() {
    let on_host = |host: &str| case().var("REVERB_SERVER_HOST", host);
    let cure =
        ".env or clarim.toml. If these files are elsewhere, name their directory with --directory";
    for (case, why) in [
        (on_host("0.0.0.0"), "REVERB_SERVER_HOST in the environment: lets other machines connect"),
        (on_host("10.0.0.1"), "REVERB_SERVER_HOST in the environment: "),
        (on_host("::"), "REVERB_SERVER_HOST in the environment: "),
        (on_host("ws.example.com"), "REVERB_SERVER_HOST in the environment: "),
        (case().file("clarim.toml", "[server]\nhost = '0.0.0.0'"), "server.host in clarim.toml"),
        (case().var("APP_ENV", "production"), "APP_ENV: is production, but no app is configured"),
        (case().file(".env", "APP_ENV=production\n"), "APP_ENV: is production"),
        (case().var("SUPERVISOR_ENABLED", "1"), "supervisord: runs this server, but no app"),
        (case().var("NOTIFY_SOCKET", "/run/x"), "systemd: runs this server"),
        (
            case().var("SYSTEMD_EXEC_PID", &std::process::id().to_string()),
            "systemd: runs this server",
        ),
    ] {
        let problems = case.problems();
        assert!(problems.starts_with(why), "{problems}");
        assert!(problems.contains(cure) && problems.contains("REVERB_APP_SECRET"), "{problems}");
        assert!(!case.directory.path().join(".clarim").exists(), "{why}");
        let with_app = case.file("clarim.toml", APP);
        assert!(!with_app.settings().is_development(), "{why}");
    }
    for host in ["127.0.0.1", "::1", "[::1]", "localhost"] {
        assert!(on_host(host).settings().is_development(), "{host}");
    }
    // A terminal in a desktop that systemd has started.
    assert!(
        case().var("SYSTEMD_EXEC_PID", "1").var("APP_ENV", "local").settings().is_development()
    );
}

#[test]
fn the_directory_is_named_in_the_environment() {
    let settings = case_with_app().var("CLARIM_DIRECTORY", "/anywhere").settings();
    assert!(settings.warnings.is_empty());
    let problems = case_with_app().file(".env", "CLARIM_DIRECTORY=/x\n").problems();
    assert!(problems.ends_with("names the directory of this file; set it in the environment"));
    let case = case_with_app();
    let elsewhere = tempfile::tempdir().unwrap();
    let sources = ConfigSources::new(elsewhere.path(), case.environment.clone());
    let here = sources.clone().in_directory(case.directory.path());
    let case = case.file(".env", "REVERB_SERVER_PORT=1\n");
    assert_eq!(Config::load(&case.flags, &here).unwrap().server.port, 1);
    let missing = sources.in_directory(elsewhere.path().join("missing"));
    let error = Config::load(&case.flags, &missing).unwrap_err().to_string();
    assert!(error.contains("missing: is not a directory"), "{error}");
}

#[test]
fn credentials_that_reverb_takes_are_taken() {
    for text in ["base64:q+/Zw==", "my key", "it's", "a\"b", "`k`", "a:b", "100%", "ключ"] {
        for is_dot_env in [false, true] {
            let id = if text.is_ascii() { text } else { "1" };
            let quoted = format!("\"{}\"", text.replace('"', "\\\""));
            let quoted_id = if text.is_ascii() { quoted.as_str() } else { "1" };
            let case = match is_dot_env {
                false => case()
                    .var("REVERB_APP_ID", id)
                    .var("REVERB_APP_KEY", id)
                    .var("REVERB_APP_SECRET", text),
                true => case().file(
                    ".env",
                    &format!(
                        "REVERB_APP_ID={quoted_id}\nREVERB_APP_KEY={quoted_id}\nREVERB_APP_SECRET={quoted}\n"
                    ),
                ),
            };
            assert_eq!(case.settings().apps, [App::new(id, id, text)], "{text}");
        }
    }
}

#[test]
fn the_size_of_events_follows_a_limit_of_requests_that_is_set() {
    let size = |set: &[(&str, &str)]| {
        let case = set.iter().fold(case_with_app(), |case, (name, value)| case.var(name, value));
        let settings = case.settings();
        (settings.apps[0].limits.event_data_bytes, settings.server.outbox_bytes)
    };
    assert_eq!(size(&[]), (100_000, 1 << 20));
    for (request, event, outbox) in [
        ("10000", 100_000, 1 << 20),
        ("200000", 200_000, 1 << 20),
        ("1000000", 1_000_000, 1 << 20),
        ("5000000", 5_000_000, 5_000_000),
    ] {
        assert_eq!(size(&[("REVERB_MAX_REQUEST_SIZE", request)]), (event, outbox), "{request}");
    }
    let set = [("REVERB_MAX_REQUEST_SIZE", "5000000"), ("CLARIM_APP_MAX_EVENT_SIZE", "1000")];
    assert_eq!(size(&set).0, 1_000);
    let set = [("REVERB_MAX_REQUEST_SIZE", "5000000"), ("CLARIM_OUTBOX_SIZE", "2000000")];
    assert_eq!(size(&set), (2_000_000, 2_000_000));
    // The default fits an event of that size that consists of quotes, with names.
    let event = "\"".repeat(100_000);
    let channels = vec!["c".repeat(200); 100];
    let body = serde_json::json!({ "name": "e".repeat(200), "channels": channels, "data": event });
    assert!(body.to_string().len() < ServerConfig::default().max_request_bytes);
}

#[test]
fn values_that_reverb_ignores_are_ignored_with_a_warning() {
    for (name, value, what) in [
        ("REVERB_LOG_LEVEL", "loud", "\"loud\" is unknown"),
        ("REVERB_SCHEME", "tcp", "\"tcp\" is unknown"),
        ("REVERB_HOST", "https://ws.example.com", "is not a host"),
        ("REVERB_PORT", "${PORT}", "is not a number"),
        ("REVERB_DEBUG", "maybe", "is not a boolean"),
        ("REVERB_SSL_CERT", "/etc/cert.pem", "not a setting of Clarim"),
        ("REVERB_VERIFY_SSL", "false", "not a setting of Clarim"),
    ] {
        let warnings = case_with_app().var(name, value).settings().warnings;
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        let at = format!("{name} in the environment: ");
        assert!(warning.starts_with(&at) && warning.contains(what), "{warning}");
        assert!(warning.contains("ignored"), "{warning}");
    }
    // These decide who may connect, or what is encrypted.
    for name in ["REVERB_APP_ALLOWED_ORIGINS", "REVERB_INSPECTOR_TOKEN", "REVERB_TLS_CERT"] {
        assert!(case_with_app().var(name, "a b").problems().starts_with(name));
    }
    let words = case_with_app().var("REVERB_LOG_LEVEL", "warning").var("REVERB_SCHEME", "wss");
    let settings = words.settings();
    assert_eq!((settings.log.level, settings.public.scheme), (LogLevel::Warn, Scheme::Https));
    assert!(settings.warnings.is_empty());
}

#[test]
fn a_url_of_a_bus_enables_clustering() {
    let bus = |name: &str, value: &str| case_with_app().var(name, value).settings().server.scaling;
    assert!(bus("CLARIM_SCALING_URL", "nats+tls://n:4222").is_some());
    assert!(bus("REDIS_URL", "tls://r:6379").is_none());
    let off = case_with_app().var("CLARIM_SCALING_URL", "nats://n").var("SCALING_ENABLED", "x");
    assert!(off.var("CLARIM_SCALING_ENABLED", "false").settings().server.scaling.is_none());
    let redis = |name: &str, value: &str| {
        let case = case_with_app().var("REVERB_SCALING_ENABLED", "true").var(name, value);
        case.settings().server.scaling.is_some()
    };
    assert!(redis("REDIS_URL", "tls://r:6379") && redis("REDIS_SCHEME", "tls"));
}
