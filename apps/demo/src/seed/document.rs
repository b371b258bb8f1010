//! The content of the first document, as its editor would have written it.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::AnyConnection;
use yrs::{Any, TransactionMut, Xml as _};
use yrs::{
    Doc, ReadTxn as _, StateVector, Transact as _, WriteTxn as _, XmlElementPrelim, XmlElementRef,
    XmlFragment, XmlTextPrelim,
};

use super::text::Block;
use crate::database::{USERS, now};

/// Writes the content as the document's first update.
pub(super) async fn write(
    tx: &mut AnyConnection,
    document: i64,
    blocks: &'static [Block],
) -> Result<()> {
    // The transaction of the library must not be held across an await.
    let update = encoded(blocks);
    sqlx::query("UPDATE documents SET last_seq = 1, edited_at = $2 WHERE id = $1")
        .bind(document)
        .bind(now())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO document_updates (document_id, seq, author_id, data) VALUES ($1, 1, $2, $3)",
    )
    .bind(document)
    .bind(USERS[1].0)
    .bind(update)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

fn encoded(blocks: &[Block]) -> String {
    let doc = Doc::new();
    let mut tx = doc.transact_mut();
    // The name that the editor uses.
    let content = tx.get_or_insert_xml_fragment("default");
    for block in blocks {
        match block {
            Block::Heading(level, text) => {
                let heading = add(&content, &mut tx, "heading");
                heading.insert_attribute(&mut tx, "level", Any::from(f64::from(*level)));
                write_text(&heading, &mut tx, text);
            }
            Block::Paragraph(text) => {
                let paragraph = add(&content, &mut tx, "paragraph");
                write_text(&paragraph, &mut tx, text);
            }
            Block::List(items) => {
                let list = add(&content, &mut tx, "bulletList");
                for item in *items {
                    let item_ref = add(&list, &mut tx, "listItem");
                    let paragraph = add(&item_ref, &mut tx, "paragraph");
                    write_text(&paragraph, &mut tx, item);
                }
            }
        }
    }
    BASE64_STANDARD.encode(tx.encode_state_as_update_v1(&StateVector::default()))
}

fn add(parent: &impl XmlFragment, tx: &mut TransactionMut<'_>, name: &str) -> XmlElementRef {
    parent.push_back(tx, XmlElementPrelim::empty(name))
}

fn write_text(element: &XmlElementRef, tx: &mut TransactionMut<'_>, text: &str) {
    element.push_back(tx, XmlTextPrelim::new(text));
}
