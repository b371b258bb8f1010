//! `config/reverb.php`, evaluated by a program that stands for PHP.

use super::*;

const INSTALLED: &str = "<?php return ['servers' => ['reverb' => ['options' => ['tls' => []]]], 'apps' => \
    ['provider' => 'config', 'apps' => [['app_id' => env('REVERB_APP_ID'), 'allowed_origins' => ['*']]]]];";

/// A case with the file, and with a program that prints this JSON.
fn evaluated(case: Case, json: &str) -> Case {
    let php = format!("#!/bin/sh\necho Deprecated: x\nprintf '\\nclarim:%s' '{json}'\n");
    let case = printing(case, &php);
    fs::write(case.directory.path().join("config/reverb.php"), "<?php return [];").unwrap();
    case
}

fn printing(case: Case, php: &str) -> Case {
    let directory = case.directory.path().to_owned();
    fs::create_dir_all(directory.join("config")).unwrap();
    fs::create_dir_all(directory.join("bin")).unwrap();
    let program = directory.join("bin/php");
    fs::write(&program, php).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    case.var("PATH", directory.join("bin").to_str().unwrap())
}

const CONFIG: &str = r#"{"default": "main", "servers": {"main": {"host": "0.0.0.0", "port": 9000,
    "path": "ws", "max_request_size": 10000, "options": {"tls": []},
    "scaling": {"enabled": false, "channel": "reverb", "server": {"url": null, "port": "6379"}}}},
    "apps": {"provider": "config", "apps": [
    {"app_id": "1", "key": "key", "secret": "hush!", "options": {"host": "x"},
     "allowed_origins": ["a.test", "*.b.test"], "ping_interval": 60, "max_message_size": 10000},
    {"app_id": 2, "key": "two", "secret": "hush!", "allowed_origins": ["*"], "max_message_size": 20000,
     "max_connections": 5, "rate_limiting": {"enabled": true, "max_attempts": 3}},
    {"app_id": "3", "key": "three", "secret": "hush!", "allowed_origins": []},
    {"app_id": null, "key": null, "secret": null, "allowed_origins": ["*"]}]}}"#;

#[test]
fn restrictions_of_laravels_configuration_apply() {
    let case = evaluated(case_with_app(), CONFIG);
    let settings = case.settings();
    assert_eq!(settings.warnings, [""; 0]);
    assert_eq!((settings.server.port, settings.server.path.as_str()), (9_000, "/ws"));
    let [first, second, third] = &settings.apps[..] else { panic!("{:?}", settings.apps) };
    assert_eq!(first.origins, Origins::new(["a.test", "*.b.test"]));
    assert_eq!(first.limits, Limits::default(), "Reverb's default of 10,000 bytes");
    assert_eq!((second.id.as_str(), second.limits.connections), ("2", Some(5)));
    assert_eq!((second.limits.message_bytes, &second.origins), (20_000, &Origins::new(["*"])));
    assert_eq!(second.rate_limit.unwrap().max_attempts, 3);
    assert!(!third.origins.allow(Some("https://a.test")), "an empty list allows nobody");
    let row = settings.rows.iter().find(|row| row.name == "APP_ALLOWED_ORIGINS").unwrap();
    assert_eq!((row.value.as_str(), row.source.as_str()), ("a.test,*.b.test", "config/reverb.php"));
    assert!(settings.files[2].ends_with("config/reverb.php"));

    let stronger = case.var("REVERB_APP_ALLOWED_ORIGINS", "c.test").var("REVERB_SERVER_PORT", "1");
    let settings = stronger.settings();
    assert_eq!((&settings.apps[0].origins, settings.server.port), (&Origins::new(["c.test"]), 1));
    let toml = stronger.file("clarim.toml", APP).settings();
    assert_eq!((toml.apps.len(), &toml.apps[0].origins), (1, &Origins::new(["*"])));
}

#[test]
fn an_app_that_only_laravels_configuration_names_is_served() {
    let settings = evaluated(case(), CONFIG).settings();
    assert!(!settings.is_development());
    assert_eq!(
        settings.apps.iter().map(|app| app.id.as_str()).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    let none = r#"{"apps": {"apps": [{"app_id": null, "key": null, "secret": null}]}}"#;
    assert!(evaluated(case(), none).settings().is_development());
    let wrong = CONFIG.replace("*.b.test", "two words");
    let problems = evaluated(case_with_app(), &wrong).problems();
    let place = "apps.apps.0.allowed_origins in config/reverb.php: \"two words\" is not a host";
    assert!(problems.starts_with(place), "{problems}");
    let provider = CONFIG.replace(r#""provider": "config""#, r#""provider": "tenants""#);
    let warnings = evaluated(case_with_app(), &provider).settings().warnings;
    assert!(
        warnings[0].contains("apps of the provider \"tenants\" are not served"),
        "{warnings:?}"
    );
}

#[test]
fn a_configuration_that_is_not_evaluated_is_reported() {
    let restricted = INSTALLED.replace("['*']", "['example.com']");
    let with = |php: &str, file: &str| {
        let case = printing(case_with_app(), php).file("config/reverb.php", file);
        if php.is_empty() {
            fs::remove_file(case.directory.path().join("bin/php")).unwrap();
        }
        case
    };
    for (php, why) in [
        ("", "PHP is not installed"),
        ("#!/bin/sh\necho hush!\nexit 255\n", "PHP failed (exit status: 255)"),
        ("#!/bin/sh\necho hush!\n", "PHP printed no configuration"),
        ("#!/bin/sh\nprintf '\\nclarim:null'\n", "PHP printed no configuration"),
        ("#!/bin/sh\nprintf '\\nclarim:{'\n", "PHP printed no configuration"),
    ] {
        let warnings = with(php, &restricted).settings().warnings;
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        let start = format!("config/reverb.php: not read, because {why}");
        assert!(warning.starts_with(&start) && warning.contains("no effect: allowed origins. Set"));
        assert!(!warning.contains("hush!"), "{warning}");
        assert!(with(php, INSTALLED).settings().warnings.is_empty(), "{why}");
        let set = with(php, &restricted).var("REVERB_APP_ALLOWED_ORIGINS", "example.com");
        assert!(set.settings().warnings.is_empty(), "{why}");
    }
}

#[test]
fn the_environment_and_its_name_are_passed_to_php() {
    let php = "#!/bin/sh\ntest \"$X\" = y && test \"$6\" = --env=staging && test -d config &&\n\
        printf '\\nclarim:{\"servers\":{\"reverb\":{\"port\":5}}}'\n";
    let mut case =
        printing(case_with_app(), php).file("config/reverb.php", INSTALLED).var("X", "y");
    case.flags.env = Some("staging".to_owned());
    assert_eq!(case.settings().server.port, 5);
}

#[test]
fn root_does_not_run_code_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let case = evaluated(case_with_app(), CONFIG);
    let vendor = case.directory.path().join("vendor");
    fs::create_dir(&vendor).unwrap();
    fs::write(vendor.join("autoload.php"), "").unwrap();
    assert!(case.settings().warnings.is_empty());
    std::os::unix::fs::chown(vendor.join("autoload.php"), Some(1_000), None).unwrap();
    let warnings = case.settings().warnings;
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("vendor/autoload.php belongs to another user"), "{warning}");
}
