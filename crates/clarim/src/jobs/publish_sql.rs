//! `clarim_publish`: broadcasts from SQL, for triggers and other languages. It writes the same jobs as
//! [`Job`](super::job::Job).

use clarim_protocol::ChannelKind;

/// The name under which the objects are recorded, and their version. It grows with each change.
pub(super) const NAME: &str = "publish";
pub(super) const VERSION: u32 = 1;

const INCOMPLETE: &str = "clarim_publish needs a channel and the name of an event";
const ENCRYPTED: &str =
    "clarim_publish cannot encrypt events; broadcast to encrypted channels from the application";

/// The function `clarim_publish(channel, event, payload)` of PostgreSQL.
#[cfg(feature = "postgres")]
pub(super) fn postgres() -> [String; 1] {
    let encrypted = ChannelKind::Encrypted.prefix();
    [format!(
        "CREATE OR REPLACE FUNCTION clarim_publish(channel TEXT, event TEXT, payload JSONB)
         RETURNS VOID LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
         BEGIN
             IF coalesce(channel, '') = '' OR coalesce(event, '') = '' THEN
                 RAISE EXCEPTION '{INCOMPLETE}';
             END IF;
             IF starts_with(channel, '{encrypted}') THEN
                 RAISE EXCEPTION '{ENCRYPTED}';
             END IF;
             PERFORM clarim_push('default', json_build_object(
                 'version', 1,
                 'event', event,
                 'publications', json_build_array(json_build_object(
                     'channels', json_build_array(channel),
                     'name', event,
                     'data', CAST(coalesce(payload, 'null') AS TEXT),
                     'idempotency_key', CAST(gen_random_uuid() AS TEXT))),
                 'delivery', json_build_object(),
                 'unique', NULL)::text, channel);
         END
         $$"
    )]
}

/// The view `clarim_publish` of SQLite, whose inserted rows are broadcast. A payload from a JSON function is
/// made a text, which would otherwise become a part of the job's JSON.
#[cfg(feature = "sqlite")]
pub(super) fn sqlite() -> [String; 3] {
    let encrypted = ChannelKind::Encrypted.prefix();
    [
        "DROP VIEW IF EXISTS clarim_publish".to_owned(),
        "CREATE VIEW clarim_publish AS
         SELECT '' AS channel, '' AS event, '' AS payload WHERE 0"
            .to_owned(),
        format!(
            "CREATE TRIGGER clarim_publish_inserted INSTEAD OF INSERT ON clarim_publish BEGIN
                 SELECT RAISE(ABORT, '{INCOMPLETE}')
                 WHERE coalesce(NEW.channel, '') = '' OR coalesce(NEW.event, '') = '';
                 SELECT RAISE(ABORT, '{ENCRYPTED}') WHERE NEW.channel GLOB '{encrypted}*';
                 SELECT RAISE(ABORT, 'clarim_publish needs a payload that is JSON')
                 WHERE NOT json_valid(coalesce(NEW.payload, 'null'));
                 INSERT INTO clarim_push (queue, payload, order_key)
                 SELECT 'default', json_object(
                     'version', 1,
                     'event', NEW.event,
                     'publications', json_array(json_object(
                         'channels', json_array(NEW.channel),
                         'name', NEW.event,
                         'data', coalesce(NEW.payload, 'null') || '',
                         'idempotency_key', lower(hex(randomblob(16))))),
                     'delivery', json_object(),
                     'unique', NULL), NEW.channel;
             END"
        ),
    ]
}
