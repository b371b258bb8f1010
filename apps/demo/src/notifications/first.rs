use anyhow::Result;

use super::{Greeting, Mentioned};
use crate::app::App;
use crate::database::USERS;
use crate::seed::{Language, message_id};
use crate::session::User;

/// Notifies each user of what a new database contains.
pub(crate) async fn notify_all(app: &App, language: Language) -> Result<()> {
    let texts = language.texts();
    for (id, login, _) in USERS {
        let Some(user) = User::find(&app.db, id).await? else { continue };
        for note in texts.notes_to(id) {
            let greeting = Greeting { from: note.from.to_owned(), text: note.text.to_owned() };
            app.clarim.notify(&user, greeting).await?;
        }
        for mention in texts.mentions(login) {
            let conversation = mention.conversation;
            let message = message_id(conversation, mention.seq).to_string();
            let mentioned = Mentioned::new(mention.from, conversation, message, mention.text);
            app.clarim.notify(&user, mentioned).await?;
        }
    }
    Ok(())
}
