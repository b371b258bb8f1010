//! Conversations and messages in the database.

use serde::Serialize;
use sqlx::{Any, AnyConnection, AnyPool, Executor, FromRow};
use ts_rs::TS;
use uuid::Uuid;

use crate::database::now;
use crate::error::{ApiError, ApiResult};
use crate::session::User;

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, TS)]
pub(crate) struct Message {
    /// UUID that the sending page has made.
    pub(crate) id: String,
    pub(crate) conversation: i64,
    /// Sequence number in the conversation, from 1.
    pub(crate) seq: i64,
    pub(crate) author: i64,
    /// Empty after its author has deleted the message.
    pub(crate) body: String,
    /// Milliseconds since 1970.
    pub(crate) sent_at: i64,
    /// When the body was changed last. `null`: it is as it was sent.
    pub(crate) changed_at: Option<i64>,
    /// Number of changes of body and reactions.
    pub(crate) version: i64,
    #[sqlx(skip)]
    pub(crate) reactions: Vec<Reaction>,
}

/// An emoji at a message, and the users who have chosen it.
#[derive(Debug, Clone, PartialEq, Serialize, TS)]
pub(crate) struct Reaction {
    emoji: String,
    users: Vec<i64>,
}

/// A member of a conversation.
#[derive(Debug, Serialize, FromRow, TS)]
pub(crate) struct ConversationMember {
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub(super) user: User,
    /// Sequence number up to which this member has read.
    read_seq: i64,
}

/// A conversation, as one of its members sees it.
#[derive(Debug, Serialize, TS)]
pub(crate) struct Conversation {
    id: i64,
    title: String,
    members: Vec<ConversationMember>,
    /// Sequence number of its last message. 0 if there is none.
    last_seq: i64,
    /// Sequence number up to which this user has read.
    read_seq: i64,
    last_message: Option<Message>,
}

#[derive(FromRow)]
struct ConversationRow {
    id: i64,
    title: String,
    last_seq: i64,
    read_seq: i64,
}

#[derive(FromRow)]
struct ReactionRow {
    seq: i64,
    emoji: String,
    user_id: i64,
}

/// A SELECT of messages.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, conversation_id AS conversation, seq, author_id AS author, body, sent_at, changed_at,
             version FROM messages ",
            $rest
        )
    };
}

/// Rejects users who are not members, with the same error as for a conversation that does not exist.
pub(super) async fn check_member(db: &AnyPool, conversation: i64, user: i64) -> ApiResult<()> {
    match is_member(db, conversation, user).await? {
        true => Ok(()),
        false => Err(ApiError::Forbidden),
    }
}

pub(super) async fn is_member(db: &AnyPool, conversation: i64, user: i64) -> sqlx::Result<bool> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT user_id FROM conversation_members WHERE conversation_id = $1 AND user_id = $2",
    )
    .bind(conversation)
    .bind(user)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

pub(super) async fn members(
    db: &AnyPool,
    conversation: i64,
) -> sqlx::Result<Vec<ConversationMember>> {
    sqlx::query_as(
        "SELECT id, login, name, read_seq FROM users JOIN conversation_members ON user_id = id
         WHERE conversation_id = $1 ORDER BY name",
    )
    .bind(conversation)
    .fetch_all(db)
    .await
}

/// The conversations of a user.
pub(super) async fn conversations(db: &AnyPool, user: i64) -> sqlx::Result<Vec<Conversation>> {
    let rows: Vec<ConversationRow> = sqlx::query_as(
        "SELECT id, title, last_seq, read_seq FROM conversations
         JOIN conversation_members ON conversation_id = id WHERE user_id = $1 ORDER BY id",
    )
    .bind(user)
    .fetch_all(db)
    .await?;
    let mut conversations = Vec::with_capacity(rows.len());
    for ConversationRow { id, title, last_seq, read_seq } in rows {
        let last_message = after(db, id, last_seq - 1, 1).await?.pop();
        let members = members(db, id).await?;
        conversations.push(Conversation { id, title, members, last_seq, read_seq, last_message });
    }
    Ok(conversations)
}

/// The last messages before this number, oldest first.
pub(super) async fn before(
    db: &AnyPool,
    conversation: i64,
    seq: i64,
    limit: i64,
) -> sqlx::Result<Vec<Message>> {
    let mut messages: Vec<Message> = sqlx::query_as(select!(
        "WHERE conversation_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"
    ))
    .bind(conversation)
    .bind(seq)
    .bind(limit)
    .fetch_all(db)
    .await?;
    messages.reverse();
    with_reactions(db, messages).await
}

/// The first messages after this number, oldest first.
pub(super) async fn after(
    db: &AnyPool,
    conversation: i64,
    seq: i64,
    limit: i64,
) -> sqlx::Result<Vec<Message>> {
    let messages =
        sqlx::query_as(select!("WHERE conversation_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"))
            .bind(conversation)
            .bind(seq)
            .bind(limit)
            .fetch_all(db)
            .await?;
    with_reactions(db, messages).await
}

/// Adds the reactions to messages of one conversation, oldest first.
pub(super) async fn with_reactions(
    db: impl Executor<'_, Database = Any>,
    mut messages: Vec<Message>,
) -> sqlx::Result<Vec<Message>> {
    let Some(first) = messages.first() else {
        return Ok(messages);
    };
    let last = messages.last().unwrap_or(first);
    let rows: Vec<ReactionRow> = sqlx::query_as(
        "SELECT seq, emoji, user_id FROM message_reactions JOIN messages ON id = message_id
         WHERE conversation_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, emoji, user_id",
    )
    .bind(first.conversation)
    .bind(first.seq)
    .bind(last.seq)
    .fetch_all(db)
    .await?;
    for message in &mut messages {
        for row in rows.iter().filter(|row| row.seq == message.seq) {
            match message.reactions.last_mut() {
                Some(last) if last.emoji == row.emoji => last.users.push(row.user_id),
                _ => message
                    .reactions
                    .push(Reaction { emoji: row.emoji.clone(), users: vec![row.user_id] }),
            }
        }
    }
    Ok(messages)
}

/// Creates a conversation of these users, unless there is one with this key. Returns its id.
pub(super) async fn create(
    db: &AnyPool,
    key: Uuid,
    title: &str,
    members: &[i64],
) -> sqlx::Result<i64> {
    let key = key.to_string();
    let mut tx = db.begin().await?;
    let id: i64 = loop {
        let insert = sqlx::query_scalar(
            "INSERT INTO conversations (id, title, page_key)
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2 FROM conversations WHERE true
             ON CONFLICT DO NOTHING RETURNING id",
        );
        if let Some(id) = insert.bind(title).bind(&key).fetch_optional(&mut *tx).await? {
            break id;
        }
        let found = sqlx::query_scalar("SELECT id FROM conversations WHERE page_key = $1");
        if let Some(id) = found.bind(&key).fetch_optional(&mut *tx).await? {
            return Ok(id);
        }
        // Another request has just taken the number.
    };
    for user in members {
        sqlx::query("INSERT INTO conversation_members (conversation_id, user_id) VALUES ($1, $2)")
            .bind(id)
            .bind(*user)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(id)
}

/// Stores a message, and returns it and whether it is new.
pub(super) async fn add(
    db: &AnyPool,
    conversation: i64,
    author: i64,
    id: Uuid,
    body: &str,
) -> ApiResult<(Message, bool)> {
    let mut tx = db.begin().await?;
    // This comes first because it locks the conversation until the transaction ends: sequence numbers have no
    // gaps, and if a message is sent twice at the same time, the second request finds it.
    let seq: i64 = sqlx::query_scalar(
        "UPDATE conversations SET last_seq = last_seq + 1 WHERE id = $1 RETURNING last_seq",
    )
    .bind(conversation)
    .fetch_one(&mut *tx)
    .await?;
    let id = id.to_string();
    let found: Option<Message> =
        sqlx::query_as(select!("WHERE id = $1")).bind(&id).fetch_optional(&mut *tx).await?;
    if let Some(message) = found {
        let message = with_reactions(&mut *tx, vec![message]).await?.remove(0);
        tx.rollback().await?;
        let is_same = message.conversation == conversation && message.author == author;
        return if is_same { Ok((message, false)) } else { Err(ApiError::Invalid("id", "taken")) };
    }
    let message = Message {
        id,
        conversation,
        seq,
        author,
        body: body.to_owned(),
        sent_at: now(),
        changed_at: None,
        version: 0,
        reactions: Vec::new(),
    };
    sqlx::query(
        "INSERT INTO messages (id, conversation_id, seq, author_id, body, sent_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&message.id)
    .bind(conversation)
    .bind(seq)
    .bind(author)
    .bind(&message.body)
    .bind(message.sent_at)
    .execute(&mut *tx)
    .await?;
    // The author has read the messages before it.
    set_read(&mut *tx, conversation, author, seq).await?;
    tx.commit().await?;
    Ok((message, true))
}

/// Stores that a user has read up to this number, and returns whether that is a change.
pub(super) async fn set_read(
    db: impl Executor<'_, Database = Any>,
    conversation: i64,
    user: i64,
    seq: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE conversation_members SET read_seq = $3
         WHERE conversation_id = $1 AND user_id = $2 AND read_seq < $3
         AND $3 <= (SELECT last_seq FROM conversations WHERE id = $1)",
    )
    .bind(conversation)
    .bind(user)
    .bind(seq)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A change of a stored message.
pub(super) enum Change {
    /// The author's new text. Empty: the message is deleted.
    Body(String),
    Reaction {
        emoji: String,
        is_on: bool,
    },
}

/// Changes a message as this user, and returns it.
pub(super) async fn change(
    db: &AnyPool,
    conversation: i64,
    id: Uuid,
    user: i64,
    change: Change,
) -> ApiResult<Message> {
    let id = id.to_string();
    let mut tx = db.begin().await?;
    // This comes first because it locks the message: versions are in the order of the changes.
    let found: Option<i64> = sqlx::query_scalar(
        "UPDATE messages SET version = version
         WHERE id = $1 AND conversation_id = $2 AND body <> '' RETURNING author_id",
    )
    .bind(&id)
    .bind(conversation)
    .fetch_optional(&mut *tx)
    .await?;
    let author = found.ok_or(ApiError::NotFound)?;
    let has_changed = match change {
        Change::Body(_) if user != author => return Err(ApiError::Forbidden),
        Change::Body(body) => set_body(&mut tx, &id, body).await?,
        Change::Reaction { emoji, is_on } => {
            let statement = if is_on { ADD_REACTION } else { REMOVE_REACTION };
            let done = sqlx::query(statement).bind(&id).bind(emoji).bind(user);
            done.execute(&mut *tx).await?.rows_affected() > 0
        }
    };
    // A repeated request is not a change.
    if has_changed {
        let update = sqlx::query("UPDATE messages SET version = version + 1 WHERE id = $1");
        update.bind(&id).execute(&mut *tx).await?;
    }
    let message = sqlx::query_as(select!("WHERE id = $1")).bind(&id).fetch_one(&mut *tx).await?;
    let message = with_reactions(&mut *tx, vec![message]).await?.remove(0);
    tx.commit().await?;
    Ok(message)
}

const ADD_REACTION: &str = "INSERT INTO message_reactions (message_id, emoji, user_id)
     VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const REMOVE_REACTION: &str =
    "DELETE FROM message_reactions WHERE message_id = $1 AND emoji = $2 AND user_id = $3";

/// Sets the text of a message, and returns whether it is another one.
async fn set_body(tx: &mut AnyConnection, id: &str, body: String) -> sqlx::Result<bool> {
    if body.is_empty() {
        let delete = sqlx::query("DELETE FROM message_reactions WHERE message_id = $1");
        delete.bind(id.to_owned()).execute(&mut *tx).await?;
    }
    let update =
        sqlx::query("UPDATE messages SET body = $2, changed_at = $3 WHERE id = $1 AND body <> $2");
    let done = update.bind(id.to_owned()).bind(body).bind(now()).execute(tx).await?;
    Ok(done.rows_affected() > 0)
}
