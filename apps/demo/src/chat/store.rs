//! Conversations and messages in the database.

use serde::Serialize;
use sqlx::{AnyPool, FromRow};
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
    pub(crate) body: String,
    /// Milliseconds since 1970.
    pub(crate) sent_at: i64,
}

/// A conversation, as one of its members sees it.
#[derive(Debug, Serialize, TS)]
pub(crate) struct Conversation {
    id: i64,
    title: String,
    members: Vec<User>,
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

/// A SELECT of messages.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, conversation_id AS conversation, seq, author_id AS author, body, sent_at FROM messages ",
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

pub(super) async fn members(db: &AnyPool, conversation: i64) -> sqlx::Result<Vec<User>> {
    sqlx::query_as(
        "SELECT id, login, name FROM users JOIN conversation_members ON user_id = id
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
        let last_message = sqlx::query_as(select!("WHERE conversation_id = $1 AND seq = $2"))
            .bind(id)
            .bind(last_seq)
            .fetch_optional(db)
            .await?;
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
    Ok(messages)
}

/// The first messages after this number, oldest first.
pub(super) async fn after(
    db: &AnyPool,
    conversation: i64,
    seq: i64,
    limit: i64,
) -> sqlx::Result<Vec<Message>> {
    sqlx::query_as(select!("WHERE conversation_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"))
        .bind(conversation)
        .bind(seq)
        .bind(limit)
        .fetch_all(db)
        .await
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
        tx.rollback().await?;
        let is_same = message.conversation == conversation && message.author == author;
        return if is_same { Ok((message, false)) } else { Err(ApiError::Invalid("id", "taken")) };
    }
    let message = Message { id, conversation, seq, author, body: body.to_owned(), sent_at: now() };
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
    db: impl sqlx::Executor<'_, Database = sqlx::Any>,
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
