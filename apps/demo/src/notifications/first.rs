use anyhow::Result;

use super::{Greeting, Mentioned};
use crate::app::App;
use crate::database::USERS;
use crate::seed::Language;
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
            let from = mention.from.to_owned();
            let text = mention.text.to_owned();
            let mentioned = Mentioned { from, conversation: mention.conversation, text };
            app.clarim.notify(&user, mentioned).await?;
        }
    }
    Ok(())
}
