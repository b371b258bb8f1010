//! Updates that were made to break the application.

use axum::http::StatusCode;
use serde_json::json;
use yrs::updates::encoder::Encode as _;
use yrs::{
    Any, Array as _, ArrayPrelim, Doc, Map as _, ReadTxn as _, StateVector, Text as _,
    Transact as _,
};

use super::super::content::{Task, Work, encode};
use super::super::sandbox::{self, Failure};
use super::super::wire::{is_state_vector, is_update};
use super::{Page, save};
use crate::tests::TestApp;

/// An update of Yjs itself: an editor's text of two users with formatting and deletions, a map and a list.
const PAGE: &[u8] = include_bytes!("page.bin");

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// An update with every kind of content that pages write, and deletions.
fn rich() -> Vec<u8> {
    let doc = Doc::with_client_id(7);
    let text = doc.get_or_insert_text("text");
    let list = doc.get_or_insert_array("list");
    let map = doc.get_or_insert_map("map");
    let mut transaction = doc.transact_mut();
    text.push(&mut transaction, "Hello world 😀 é");
    text.format(&mut transaction, 1, 4, [("bold".into(), true.into())].into());
    text.insert_embed(&mut transaction, 3, Any::from_json(r#"{"src":"a"}"#).unwrap());
    list.push_back(
        &mut transaction,
        Any::from_json(r#"[1,-70000,2.5,null,{"a":[true]}]"#).unwrap(),
    );
    let inner = list.push_back(&mut transaction, ArrayPrelim::default());
    inner.push_back(&mut transaction, "fundo");
    map.insert(&mut transaction, "k", vec![1_u8, 2, 3]);
    map.insert(&mut transaction, "k", "again");
    text.remove_range(&mut transaction, 2, 3);
    transaction.encode_state_as_update_v1(&StateVector::default())
}

/// Arrays in each other.
fn nested(depth: u64) -> Vec<u8> {
    fn number(bytes: &mut Vec<u8>, mut number: u64) {
        while number > 0x7f {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
    }
    let mut bytes = vec![1];
    number(&mut bytes, depth);
    // Client 9, from clock 0; the first is in the root `a`.
    bytes.extend([9, 0, 7, 1, 1, b'a', 0]);
    for parent in 0..depth - 1 {
        bytes.extend([7, 0, 9]);
        number(&mut bytes, parent);
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

async fn task(work: Work) -> Result<(), Failure> {
    sandbox::run(&Task { stored: Vec::new(), work }).await.map(drop)
}

#[test]
fn real_updates_are_within_bounds_and_their_parts_are_not() {
    assert!(is_update(&[0, 0]));
    for real in [PAGE, &rich()] {
        assert!(is_update(real));
        for end in 0..real.len() {
            assert!(!is_update(&real[..end]), "{end}");
        }
        assert!(!is_update(&[real, &[0]].concat()));
    }
    let doc = Doc::with_client_id((1 << 53) - 1);
    doc.get_or_insert_text("text").push(&mut doc.transact_mut(), "a");
    assert!(is_state_vector(&doc.transact().state_vector().encode_v1()));
    assert!(is_state_vector(&[0]));
    for vector in [&[][..], &[1], &[1, 5], &[2, 5, 1, 5, 1], &[1, 5, 1, 0], &[0xff; 9]] {
        assert!(!is_state_vector(vector), "{vector:?}");
    }
}

#[test]
fn updates_beyond_the_bounds_are_malformed() {
    for (what, update) in [
        ("more clients than bytes", &[0xff, 0xff, 0xff, 0xff, 0x0f][..]),
        ("more items than bytes", &[1, 0xff, 0xff, 0x7f, 9, 0, 0]),
        ("an empty item", &[1, 1, 9, 0, 0, 0, 0]),
        ("a clock beyond the maximum", &[1, 1, 9, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1, 0]),
        ("a length beyond the maximum", &[1, 1, 9, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]),
        ("one client twice", &[2, 1, 9, 0, 0, 1, 1, 9, 1, 0, 1, 0]),
        ("a document in a document", &[1, 1, 9, 0, 9, 1, 1, b'a', 1, b'g', 126, 0]),
        ("a kind of the library alone", &[1, 1, 9, 0, 11, 1, 1, b'a', 0, 0]),
        ("a type that pages do not know", &[1, 1, 9, 0, 7, 1, 1, b'a', 7, 0]),
        ("text that is not UTF-8", &[1, 1, 9, 0, 4, 1, 1, b'a', 1, 0xff, 0]),
        ("JSON that is none", &[1, 1, 9, 0, 5, 1, 1, b'a', 1, b'{', 0]),
        ("a long number in few bits", &[0x80, 0x00, 0]),
        ("a deletion of nothing", &[0, 1, 9, 1, 0, 0]),
    ] {
        assert!(!is_update(update), "{what}");
    }
    let value = |depth: usize| {
        let arrays = [117, 1].repeat(depth);
        [&[1, 1, 9, 0, 8, 1, 1, b'a', 1][..], &arrays, &[126, 0]].concat()
    };
    assert!(is_update(&value(31)));
    assert!(!is_update(&value(32)));
}

#[tokio::test]
async fn mutated_updates_break_nothing() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let page = Page::new();
    assert_eq!(save(&mut ana, &page.types("certo")).await.0, StatusCode::OK);
    assert_eq!(save(&mut ana, &encode(PAGE)).await.0, StatusCode::OK);
    let real = [PAGE.to_vec(), rich()];
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut accepted = 0;
    for round in 0..1_000 {
        let mut bytes = real[round % 2].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                1 => bytes[at] ^= 1 << random.below(8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[random.below(bytes.len())]),
            }
        }
        // Starting a process for each of the others would take long.
        if !is_update(&bytes) {
            continue;
        }
        accepted += 1;
        let (status, body) = save(&mut ana, &encode(&bytes)).await;
        let is_answer = status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY;
        assert!(is_answer, "round {round}: {status} {body}");
    }
    assert!(accepted > 20, "{accepted}");
    // Whatever was accepted, the document can be read and edited.
    assert_eq!(save(&mut ana, &page.types(" e mais")).await.0, StatusCode::OK);
    assert!(Page::reads(&mut ana, 1).await.0.contains("certo e mais"));
}

#[tokio::test]
async fn a_crash_of_the_library_ends_only_its_process() {
    // Memory for 2^35 clients
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x7f];
    let outcome = task(Work::Add { update: encode(&bomb) }).await;
    assert!(matches!(outcome, Err(Failure::Crashed | Failure::Rejected(_))), "{outcome:?}");
    // Deleting it overflows the stack, in a browser too.
    let deep = encode(&nested(20_000));
    let outcome = task(Work::Add { update: deep.clone() }).await;
    assert!(matches!(outcome, Err(Failure::Crashed)), "{outcome:?}");
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let (status, body) = save(&mut ana, &deep).await;
    assert_eq!((status.as_u16(), &body["code"]), (422, &json!("malformed")));
    assert_eq!(save(&mut ana, &encode(&nested(20))).await.0, StatusCode::OK);
    assert_eq!(save(&mut ana, &Page::new().types("certo")).await.0, StatusCode::OK);
    assert_eq!(Page::reads(&mut ana, 1).await, ("certo".to_owned(), 2));
}

#[tokio::test]
async fn a_stored_update_that_cannot_be_loaded_is_taken_out() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let page = Page::new();
    save(&mut ana, &page.types("antes")).await;
    // By an earlier version: one that cannot be decoded, one that is fatal once it is deleted, and that
    // deletion.
    let deep = nested(20_000);
    let deletion = [0, 1, 9, 1, 0, 1];
    let mut seq = 1;
    for poison in [&[0xff, 0xff, 0xff, 0xff, 0x7f][..], &deep, &deletion] {
        seq += 1;
        sqlx::query(
            "INSERT INTO document_updates (document_id, seq, author_id, data) VALUES (1, $1, 1, $2)",
        )
        .bind(seq)
        .bind(encode(poison))
        .execute(&app.app().db)
        .await
        .unwrap();
        sqlx::query("UPDATE documents SET last_seq = $1 WHERE id = 1")
            .bind(seq)
            .execute(&app.app().db)
            .await
            .unwrap();
    }
    assert_eq!(Page::reads(&mut ana, 1).await, ("antes".to_owned(), 4));
    assert_eq!(save(&mut ana, &page.types(" e depois")).await.0, StatusCode::OK);
    assert_eq!(Page::reads(&mut ana, 1).await, ("antes e depois".to_owned(), 5));
    let rejected: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM rejected_updates WHERE document_id = 1 ORDER BY seq")
            .fetch_all(&app.app().db)
            .await
            .unwrap();
    assert_eq!(rejected, [2, 3, 4], "the last one depends on the one before");
}
