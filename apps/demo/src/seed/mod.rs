//! What a new database begins with: the users, their conversations and documents, and content to look at.

mod document;
mod metrics;
#[cfg(test)]
mod tests;
mod text;

use anyhow::{Context, Result};
use argon2::{Argon2, PasswordHasher as _};
use sqlx::{AnyConnection, AnyPool};
use uuid::Uuid;

use crate::database::{PASSWORD, USERS, now};
use text::Said;
pub(crate) use text::{Language, Texts};

/// `SEED`: the content of a new database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Conversations and documents without content.
    Empty,
    Content(Language),
}

/// Members of the conversations, and editors of the documents.
const CONVERSATIONS: [&[i64]; 4] = [&[1, 2, 3], &[1, 2], &[2, 3], &[1, 3]];
const DOCUMENTS: [&[i64]; 3] = [&[1, 2, 3], &[1, 2, 3], &[2, 3]];
/// Emoji, user, and sequence number of the message in the first conversation.
const REACTIONS: [(&str, i64, i64); 3] = [("👍", 3, 3), ("🎉", 1, 5), ("🎉", 2, 5)];
/// The document with content.
const DOCUMENT: i64 = 1;
const MINUTE: i64 = 60_000;

/// Fills a new database. Returns whether it was new.
pub(crate) async fn fill(pool: &AnyPool, seed: Seed) -> Result<bool> {
    write(pool, seed).await.context("cannot create the demo users")
}

async fn write(pool: &AnyPool, seed: Seed) -> Result<bool> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(pool).await?;
    if count > 0 {
        return Ok(false);
    }
    let texts = match seed {
        Seed::Empty => Language::Portuguese.texts(),
        Seed::Content(language) => language.texts(),
    };
    let mut tx = pool.begin().await?;
    let mut is_first = false;
    for (id, login, name) in USERS {
        is_first |= add_user(&mut tx, id, login, name).await?;
    }
    // Another process may have been first. Its transaction has ended when this one gets here.
    if is_first {
        share(&mut tx, &CONVERSATIONS, texts.conversations, CONVERSATION).await?;
        share(&mut tx, &DOCUMENTS, texts.documents, SHARED_DOCUMENT).await?;
        if seed != Seed::Empty {
            let said = say(&mut tx, texts).await?;
            react(&mut tx).await?;
            document::write(&mut tx, DOCUMENT, texts.document).await?;
            metrics::write(&mut tx, said + 1).await?;
        }
    }
    tx.commit().await?;
    Ok(is_first)
}

async fn add_user(tx: &mut AnyConnection, id: i64, login: &str, name: &str) -> Result<bool> {
    let password = Argon2::default()
        .hash_password(PASSWORD.as_bytes())
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))?
        .to_string();
    let added = sqlx::query(
        "INSERT INTO users (id, login, name, password) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(login)
    .bind(name)
    .bind(password)
    .execute(tx)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The statements that insert something shared, and one of its members.
struct Statements {
    insert: &'static str,
    add_member: &'static str,
}

const CONVERSATION: Statements = Statements {
    insert: "INSERT INTO conversations (id, title) VALUES ($1, $2)",
    add_member: "INSERT INTO conversation_members (conversation_id, user_id) VALUES ($1, $2)",
};
const SHARED_DOCUMENT: Statements = Statements {
    insert: "INSERT INTO documents (id, title) VALUES ($1, $2)",
    add_member: "INSERT INTO document_members (document_id, user_id) VALUES ($1, $2)",
};

async fn share(
    tx: &mut AnyConnection,
    members: &[&[i64]],
    titles: &[&'static str],
    statements: Statements,
) -> Result<()> {
    for (id, (members, title)) in (1_i64..).zip(members.iter().zip(titles)) {
        sqlx::query(statements.insert).bind(id).bind(*title).execute(&mut *tx).await?;
        for user in *members {
            let add = sqlx::query(statements.add_member).bind(id).bind(*user);
            add.execute(&mut *tx).await?;
        }
    }
    Ok(())
}

/// The id of a message that a new database begins with.
pub(crate) fn message_id(conversation: i64, seq: i64) -> Uuid {
    Uuid::from_u64_pair(conversation.unsigned_abs(), seq.unsigned_abs())
}

/// Writes the messages. The last of each conversation is unread by those who have not written it. Returns the
/// number of messages.
async fn say(tx: &mut AnyConnection, texts: &Texts) -> Result<i64> {
    let begun = now();
    let mut count = 0;
    for (conversation, messages) in (1_i64..).zip(texts.messages) {
        let mut seq = 0;
        for Said { author, minutes_ago, body } in *messages {
            seq += 1;
            sqlx::query(
                "INSERT INTO messages (id, conversation_id, seq, author_id, body, sent_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(message_id(conversation, seq).to_string())
            .bind(conversation)
            .bind(seq)
            .bind(*author)
            .bind(*body)
            .bind(begun - minutes_ago * MINUTE)
            .execute(&mut *tx)
            .await?;
        }
        count += seq;
        let last = sqlx::query("UPDATE conversations SET last_seq = $2 WHERE id = $1");
        last.bind(conversation).bind(seq).execute(&mut *tx).await?;
        let author = messages.last().map_or(0, |said| said.author);
        sqlx::query(
            "UPDATE conversation_members SET read_seq = CAST($2 AS BIGINT) - CASE WHEN user_id = $3 THEN 0 ELSE 1 END
             WHERE conversation_id = $1",
        )
        .bind(conversation)
        .bind(seq)
        .bind(author)
        .execute(&mut *tx)
        .await?;
    }
    Ok(count)
}

async fn react(tx: &mut AnyConnection) -> Result<()> {
    for (emoji, user, seq) in REACTIONS {
        sqlx::query(
            "INSERT INTO message_reactions (message_id, emoji, user_id)
             SELECT id, $1, $2 FROM messages WHERE conversation_id = 1 AND seq = $3",
        )
        .bind(emoji)
        .bind(user)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
