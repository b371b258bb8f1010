//! Apps of the file and of the database that change in the same step as the program.

use super::apps_database::{Database, FOUR, ONE, TWO, lets_in};
use super::apps_file;
use super::restart::restart;
use super::server::{Client, Process};

const OF_FILE: &str = "[[apps]]\nid = \"3\"\nkey = \"three\"\nsecret = \"s3cret-of-three\"\n";

fn change_with_the_program(database: &Database) {
    drop(database.start());
    database.insert(TWO, "{}");
    database.insert(FOUR, "{}");
    let files = format!("cat > clarim.toml <<'E'\n{}{OF_FILE}E\n", apps_file::ONE);
    let url = database.url();
    let process = Process::start(&files, "", &[("CLARIM_APPS_DATABASE_URL", &url)]);
    let subscribe = |key| process.subscribe_as(key, "news");
    let [mut one, mut two, mut three, mut four] = ["key", "two", "three", "four"].map(subscribe);

    process.rewrite(&format!("{}max_event_size = 10\n", apps_file::ONE));
    database.run(
        "DELETE FROM clarim_apps WHERE id = '4';
         UPDATE clarim_apps SET settings = '{\"max_event_size\": 10}' WHERE id = '2';
         INSERT INTO clarim_apps (id, key, secret, settings)
         VALUES ('5', 'five', 's3cret-of-five', '{}')",
    );
    restart(&process);

    for gone in [&mut three, &mut four] {
        assert_eq!(gone.read_close(), 4003);
    }
    for (app, client) in [(ONE, &mut one), (TWO, &mut two)] {
        let publish = |data| process.publish_as(app, "news", data);
        assert!(publish("longer than that").starts_with("HTTP/1.1 413"));
        assert!(publish("short").starts_with("HTTP/1.1 200"));
        client.read_until("short");
        client.say(r#"{"event":"pusher:subscribe","data":{"channel":"more"}}"#);
        client.read_until("subscription_succeeded");
    }
    let refused = |key| lets_in(&process, key).map(|_: Client| ());
    assert_eq!((refused("three"), refused("four")), (Err(4001), Err(4001)));
    assert_eq!(refused("five"), Ok(()));
}

#[test]
fn change_with_the_program_on_sqlite() {
    change_with_the_program(&Database::sqlite());
}

#[test]
fn change_with_the_program_on_postgres() {
    change_with_the_program(&Database::postgres());
}
