//! The commands of the real binary, in working directories of their own.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs `clarim` in `directory`, with only these variables.
fn clarim(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clarim"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The output of a command that succeeds.
fn ok(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = clarim(directory, arguments, environment);
    let out = text(output.stdout);
    let err = text(output.stderr);
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    out
}

/// The error of a command that fails.
fn failed(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = clarim(directory, arguments, environment);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text(output.stdout), "");
    text(output.stderr)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

const APP: [(&str, &str); 3] =
    [("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "the-key"), ("REVERB_APP_SECRET", "hush-hush")];

#[test]
fn config_check_shows_values_and_sources_without_secrets() {
    let directory = directory();
    fs::write(directory.path().join(".env"), "REVERB_SERVER_PORT=7001\n").unwrap();
    let arguments = ["config", "check", "--host", "::1"];
    let out = ok(directory.path(), &arguments, &APP);
    let row = |name: &str| {
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("SERVER_PORT"), "7001 .env line 1 (REVERB_)");
    assert_eq!(row("SERVER_HOST"), "::1 --host");
    assert_eq!(row("APP_KEY"), "the-key environment (REVERB_)");
    assert_eq!(row("APP_SECRET"), "(set, not shown) environment (REVERB_)");
    assert_eq!(row("DRAIN_SECONDS"), "5 default");
    assert!(!out.contains("hush-hush"));
    assert!(!directory.path().join(".clarim").exists());
}

#[test]
fn an_output_whose_reader_has_gone_is_no_failure() {
    let directory = directory();
    for arguments in
        [&["config", "check"][..], &["config", "--help"], &["app", "new"], &["install"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_clarim"))
            .args(arguments)
            .current_dir(directory.path())
            .env_clear()
            .envs(APP)
            .stdout(writer)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(text(output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn top_needs_a_terminal() {
    let directory = directory();
    let output = clarim(directory.path(), &["top"], &APP);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(output.stderr).contains("needs a terminal"));
}

#[test]
fn settings_are_read_in_the_directory_that_is_named() {
    let here = directory();
    let there = directory();
    fs::write(there.path().join(".env"), "REVERB_SERVER_PORT=7001\n").unwrap();
    fs::write(there.path().join(".env.staging"), "REVERB_SERVER_PORT=7002\n").unwrap();
    let there = there.path().to_str().unwrap();
    let port = |arguments: &[&str], environment: &[(&str, &str)]| {
        let environment = [&APP[..], environment].concat();
        let out = ok(here.path(), &[&["config", "check"], arguments].concat(), &environment);
        let line = out.lines().find(|line| line.contains("SERVER_PORT")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(port(&[], &[]), "8080");
    assert_eq!(port(&["--directory", there], &[]), "7001");
    assert_eq!(port(&[], &[("CLARIM_DIRECTORY", there)]), "7001");
    assert_eq!(port(&["--directory", there, "--env", "staging"], &[]), "7002");
    assert_eq!(port(&["--directory", there], &[("APP_ENV", "staging")]), "7002");
    assert_eq!(port(&["--directory", "."], &[("CLARIM_DIRECTORY", there)]), "8080");
    let err = failed(here.path(), &["start", "--host", "0.0.0.0"], &[]);
    assert!(err.contains("--host: lets other machines connect, but no app is configured"), "{err}");
    assert!(err.contains(&format!("{}/.env or ", here.path().display())), "{err}");
    let err = failed(here.path(), &["start"], &[("APP_ENV", "production")]);
    assert!(err.contains("APP_ENV: is production") && err.contains("clarim app new"), "{err}");
}

#[test]
fn help_has_examples() {
    let directory = directory();
    for (arguments, example) in [
        (&["--help"][..], "clarim start --directory /var/www/app"),
        (&["--help"], "NO_COLOR"),
        (&["send", "--help"], ".listen('.order.shipped')"),
        (&["tail", "--help"], "clarim tail presence-room --json"),
        (&["doctor", "--help"], "clarim doctor wss://ws.example.com"),
    ] {
        assert!(ok(directory.path(), arguments, &[]).contains(example), "{arguments:?}");
    }
}

#[test]
fn completions_and_manual_pages_name_commands_and_flags() {
    let directory = directory();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ok(directory.path(), &["completions", shell], &[]);
        assert!(script.contains("doctor") && script.contains("hostname"), "{shell}");
    }
    ok(directory.path(), &["man", "pages"], &[]);
    for (page, text) in [
        ("clarim.1", "clarim start \\-\\-directory"),
        ("clarim-config.1", "MAX_REQUEST_SIZE"),
        ("clarim-app-new.1", "clarim\\-app\\-new"),
        ("clarim-send.1", "\\-\\-raw"),
    ] {
        let page = fs::read_to_string(directory.path().join("pages").join(page)).unwrap();
        assert!(page.contains(text), "{page}");
    }
    assert!(
        failed(directory.path(), &["man", "pages/clarim.1/x"], &[]).contains("cannot be written")
    );
}

#[test]
fn config_check_prints_every_problem() {
    let directory = directory();
    let problems = [("CLARIM_SERVER_PORT", "x"), ("CLARIM_PROT", "1"), APP[2]];
    let err = failed(directory.path(), &["config", "check"], &problems);
    assert!(err.starts_with("3 problems in the settings:\n  - "), "{err}");
    for part in ["CLARIM_SERVER_PORT", "did you mean CLARIM_PORT?", "REVERB_APP_ID and"] {
        assert!(err.contains(part), "{part:?} in {err}");
    }
    assert!(!err.contains("hush-hush"));
}

#[test]
fn config_help_lists_every_setting() {
    let directory = directory();
    let out = ok(directory.path(), &["config", "--help"], &[]);
    for key in clarim_config::keys::ALL {
        assert!(out.contains(key.name), "{}", key.name);
    }
}

#[test]
fn the_credentials_of_a_new_app_work_in_both_places() {
    let directory = directory();
    let out = ok(directory.path(), &["app", "new"], &[]);
    let (env, toml) = out.split_once("\n\n").unwrap();
    fs::write(directory.path().join(".env"), env).unwrap();
    fs::write(directory.path().join("clarim.toml"), toml).unwrap();
    let shown = ok(directory.path(), &["config", "check"], &[]);
    let secret = env.split_once("REVERB_APP_SECRET=").unwrap().1.trim();
    assert_eq!(secret.len(), 20);
    assert!(shown.contains("clarim.toml line") && !shown.contains(secret), "{shown}");
}

#[test]
fn install_adds_only_what_is_missing() {
    let directory = directory();
    let file = directory.path().join(".env");
    let old = "APP_NAME=\"Mine\"\n# kept\nBROADCAST_CONNECTION=log\nREVERB_APP_KEY=mine\nLAST=1";
    fs::write(&file, old).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let out = ok(directory.path(), &["install"], &[]);
    assert!(
        out.contains("  + REVERB_APP_SECRET\n") && out.contains("    REVERB_APP_KEY\n"),
        "{out}"
    );
    assert!(out.contains("Kept, because backend and pages may use these values already:"), "{out}");
    assert!(out.contains("credentials are new and some were kept"), "{out}");
    assert!(out.contains("BROADCAST_CONNECTION is not reverb"), "{out}");
    assert!(out.contains("REVERB_APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS=true"), "{out}");
    let new = fs::read_to_string(&file).unwrap();
    assert!(new.starts_with(&format!("{old}\n\nREVERB_APP_ID=")), "{new}");
    assert!(new.contains("VITE_REVERB_APP_KEY=\"${REVERB_APP_KEY}\"\n"));
    assert!(!new.contains("REVERB_SERVER_"));
    let secret = new.split_once("REVERB_APP_SECRET=").unwrap().1.lines().next().unwrap();
    assert!(!out.contains(secret));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let out = ok(directory.path(), &["install"], &[]);
    assert!(out.starts_with("Nothing to add to "), "{out}");
    assert_eq!(fs::read_to_string(&file).unwrap(), new);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no file is left over");
    ok(directory.path(), &["config", "check"], &[]);
}

#[test]
fn install_creates_a_missing_file() {
    let directory = directory();
    let site = directory.path().join("site");
    let err = failed(directory.path(), &["install", "site"], &[]);
    assert!(err.starts_with("site/.env cannot be written: "), "{err}");
    fs::create_dir(&site).unwrap();
    let out = ok(directory.path(), &["install", "site"], &[]);
    assert!(out.starts_with("Created site/.env, readable only by you:\n"), "{out}");
    assert_eq!(fs::metadata(site.join(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read_to_string(site.join(".env")).unwrap();
    assert!(made.starts_with("BROADCAST_CONNECTION=reverb\nREVERB_APP_ID="), "{made}");
    ok(&site, &["config", "check"], &[]);
}

#[test]
fn restart_signals_a_running_server_only() {
    let directory = directory();
    let err = failed(directory.path(), &["restart", "--port", "7002"], &APP);
    assert!(
        err.starts_with("no Clarim server is running on port 7002 (looked for its run file in "),
        "{err}"
    );
    let mut server = Command::new("sleep").arg("60").spawn().unwrap();
    let state = directory.path().join(".clarim");
    fs::create_dir(&state).unwrap();
    let mut run_file = fs::File::create(state.join("server-7002.pid")).unwrap();
    // The lock is this test's, but the process id is another one's: the test itself has to survive.
    run_file.lock().unwrap();
    write!(run_file, "{}", server.id()).unwrap();
    let out = ok(directory.path(), &["restart", "--port", "7002"], &APP);
    assert_eq!(out, "The server on port 7002 is draining. Its supervisor will restart it.\n");
    assert!(!server.wait().unwrap().success(), "ended by a signal");
    drop(run_file);
    let err = failed(directory.path(), &["restart", "--port", "7002"], &APP);
    assert!(err.starts_with("no Clarim server is running"), "{err}");
}

#[test]
fn start_reports_every_wrong_setting() {
    let directory = directory();
    let bus = [("REVERB_SCALING_ENABLED", "true"), ("REDIS_URL", "http://:hush@redis")];
    let wrong = [("CLARIM_WORKERS", "0"), bus[0], bus[1], APP[0], APP[1], APP[2]];
    for arguments in [&["--port", "99999"][..], &["start", "--port", "99999"]] {
        let err = failed(directory.path(), arguments, &wrong);
        assert!(err.starts_with("3 problems in the settings:\n"), "{err}");
        assert_eq!(err.lines().count(), 4, "{err}");
        assert!(err.contains("--port: 99999 is out of range"), "{err}");
        assert!(err.contains("REDIS_URL in the environment: unknown scheme http://"), "{err}");
        assert!(!err.contains("hush"), "{err}");
    }
}

/// Sockudo and Soketi do not have `/connections`, which is part of Reverb.
#[test]
fn stats_of_a_server_without_the_number_of_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut asked).unwrap();
            let (status, body) = if asked.contains("/connections") {
                ("404 Not Found", "404 NOT FOUND")
            } else {
                ("200 OK", r#"{"channels":{"news":{"subscription_count":2}}}"#)
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let directory = TempDir::new().unwrap();
    let app = ["--app-id", "1", "--key", "key", "--secret", "secret", "--url", &url];
    let stats = |more: &[&str]| {
        let output = clarim(directory.path(), &[&["stats"], more, &app].concat(), &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(stats(&[]), "connections  unknown\nchannels     1\n  news  2 subscribers\n");
    assert!(stats(&["--json"]).contains("\"connections\": null"));
}
