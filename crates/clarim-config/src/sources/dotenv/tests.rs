use std::collections::BTreeMap;

use super::normalized;
use super::parser::{Parsed, parse};

/// Files, and what phpdotenv reads from them; `null` where Laravel refuses to start. Recorded with phpdotenv
/// 5.4 as Laravel uses it, in a process with the variable `FROM_PROCESS`.
const RECORDED: &str = include_str!("phpdotenv.json");

type Variables = BTreeMap<String, String>;

fn read(file: &str) -> (Variables, Vec<usize>) {
    let environment = |name: &str| (name == "FROM_PROCESS").then(|| "process".to_owned());
    let text = normalized(file.as_bytes());
    let Parsed { variables, unreadable } = parse(&text, &environment);
    let variables = variables.into_iter().map(|it| (it.name, it.value)).collect();
    (variables, unreadable.iter().map(|it| it.line).collect())
}

#[test]
fn files_are_read_as_by_phpdotenv() {
    let recorded: Vec<(String, Option<Variables>)> = serde_json::from_str(RECORDED).unwrap();
    assert!(recorded.len() >= 150);
    let mut differences = Vec::new();
    for (file, expected) in recorded {
        let (found, unreadable) = read(&file);
        let is_same = match &expected {
            Some(expected) => *expected == found && unreadable.is_empty(),
            None => !unreadable.is_empty(),
        };
        if !is_same {
            differences
                .push(format!("{file:?}: {found:?}, {unreadable:?}; phpdotenv: {expected:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn an_unreadable_line_hides_no_other_line() {
    for (file, lines) in [
        ("DB=\"open\nA=1\nB=\"x\"\n", vec![1]),
        ("DB=\"open\nA=1\nB=x\n", vec![1]),
        ("# DB=\"open\nA=1\nB=x\n", vec![]),
        ("DB='open\nA=1\nB=x\n", vec![1]),
        ("DB=\"C:\\Users\"\nA=1\nB=x\n", vec![1]),
        ("DB = \"open\nA=1\nB=\"x\"\n", vec![1]),
        ("DB=a=\"open\nA=1\nB=\"x\"\n", vec![]),
        ("A=1\nMy App\nD B=y\n=z\nB=x", vec![2, 3, 4]),
        ("A=1\nNAME=My App\nB=x\nDB=\"open", vec![2, 4]),
        ("export A=1\n\"B\"=x", vec![]),
        // phpdotenv takes the quote in the second line for text of the value.
        ("DB=\"first\n\" # second\nA=1\nB=x", vec![]),
    ] {
        let (found, unreadable) = read(file);
        assert_eq!((&*found["A"], &*found["B"]), ("1", "x"), "{file:?}");
        assert_eq!(unreadable, lines, "{file:?}");
    }
}

#[test]
fn a_file_of_open_quotes_ends() {
    let file = "A=\"${B}\\\n".repeat(1_000);
    assert_eq!(read(&file).1.len(), 1_000);
}
