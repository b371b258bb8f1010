//! Apps that change in the file of the settings.

use std::io::Read;

use rustix::process::Signal;

use super::server::{Process, eventually};

pub(super) const ONE: &str =
    "[[apps]]\nid = \"1\"\nkey = \"key\"\nsecret = \"s3cret-of-the-app\"\n";
const TWO: &str = "[[apps]]\nid = \"2\"\nkey = \"two\"\nsecret = \"s3cret-of-two\"\n";
const THREE: &str = "[[apps]]\nid = \"3\"\nkey = \"three\"\nsecret = \"s3cret-of-three\"\n";

fn with_file(apps: &str) -> Process {
    Process::start(&format!("cat > clarim.toml <<'E'\n{apps}E\n"), "", &[])
}

impl Process {
    /// Replaces the file atomically, as editors do.
    pub(super) fn rewrite(&self, apps: &str) {
        let [new, file] = ["new", "clarim.toml"].map(|name| self.directory.path().join(name));
        std::fs::write(&new, apps).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

#[test]
fn apps_are_added_changed_and_removed_while_others_stay() {
    let process = with_file(&format!("{ONE}{TWO}"));
    let mut one = process.subscribe("news");
    let mut two = process.subscribe_as("two", "news");
    // The files are checked every two seconds. A signal is faster.
    process.rewrite(&format!("{ONE}max_event_size = 10\n{THREE}"));
    process.signal(Signal::HUP);
    assert_eq!(two.read_close(), 4003);
    process.logs("apps reloaded");
    assert!(process.publish("news", "short").starts_with("HTTP/1.1 200"));
    one.read_until("short");
    assert!(process.publish("news", "much longer than that").starts_with("HTTP/1.1 413"));
    process.subscribe_as("three", "news");
    assert_eq!(process.connect_as("two").read_close(), 4001);
    // Changed back without a signal.
    process.rewrite(&format!("{ONE}{TWO}"));
    eventually("app two is back", || {
        let mut two = process.connect_as("two");
        two.read("its greeting");
        while two.unread.len() < 200 {
            two.read("the rest of it");
        }
        String::from_utf8_lossy(&two.unread).contains("connection_established")
    });
    assert!(process.publish("news", "and longer once more").starts_with("HTTP/1.1 200"));
    one.read_until("and longer once more");
}

#[test]
fn history_rules_can_be_changed() {
    let process = with_file(ONE);
    let mut one = process.subscribe("news");
    process.publish("news", "plain");
    one.read_until(r#""data":"plain"}"#);
    process.rewrite(&format!("{ONE}\n[[apps.history]]\npattern = 'news'\nmessages = 5\n"));
    process.signal(Signal::HUP);
    process.logs("apps reloaded");
    process.publish("news", "kept");
    one.read_until(r#""data":"kept","offset":1}"#);
    process.rewrite(&format!("{ONE}history = 'news:0:60s'\n"));
    process.signal(Signal::HUP);
    process.logs("messages 0 is not from 1 to");
    process.publish("news", "still kept");
    one.read_until(r#""data":"still kept","offset":2}"#);
}

#[test]
fn invalid_settings_and_settings_that_need_a_restart_change_nothing() {
    let process = with_file(ONE);
    let mut one = process.subscribe("news");
    process.rewrite(&format!("{ONE}max_event_size = \"many\"\n{TWO}"));
    process.signal(Signal::HUP);
    process.logs("invalid settings are ignored");
    process.logs("max_event_size");
    process.rewrite(&format!("[server]\nworkers = 7\n{ONE}{TWO}"));
    process.signal(Signal::HUP);
    process.logs("this setting takes effect after a restart");
    process.subscribe_as("two", "news");
    assert!(process.publish("news", "still here").starts_with("HTTP/1.1 200"));
    one.read_until("still here");
}

#[test]
fn webhooks_can_be_added_later() {
    let process = with_file(ONE);
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", backend.local_addr().unwrap());
    process.rewrite(&format!("{ONE}webhooks = [\"{url}\"]\n"));
    process.signal(Signal::HUP);
    process.logs("apps reloaded");
    let _client = process.subscribe("news");
    let (mut stream, _) = backend.accept().unwrap();
    let mut request = String::new();
    while !request.contains("channel_occupied") {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{request}");
        request.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(request.contains("\"channel\":\"news\""), "{request}");
}
