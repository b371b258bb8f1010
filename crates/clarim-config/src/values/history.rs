//! History rules of an app.

use std::time::Duration;

use clarim_server::HistoryRule;
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::reader::Reader;
use crate::keys;

/// Maximum number of rules of an app: each new channel is compared with all of them.
const MAX_RULES: usize = 100;

/// Fields of a rule. All but the pattern have defaults.
const FIELDS: [&str; 7] =
    ["pattern", "messages", "ttl", "bytes", "rewind", "presence_grace", "client_events"];

/// Units of times, in milliseconds.
const UNITS: [Unit; 5] = [
    Unit { name: "ms", milliseconds: 1 },
    Unit { name: "s", milliseconds: 1_000 },
    Unit { name: "m", milliseconds: 60_000 },
    Unit { name: "h", milliseconds: 3_600_000 },
    Unit { name: "d", milliseconds: 86_400_000 },
];

struct Unit {
    name: &'static str,
    milliseconds: u64,
}

/// A problem of the setting as a whole.
#[derive(Debug, thiserror::Error)]
enum HistoryProblem {
    #[error("is not an array of rules and tables")]
    Array,
    #[error("is not JSON (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("has {0} rules; an app has at most {MAX_RULES}")]
    TooMany(usize),
}

/// A problem of one rule.
#[derive(Debug, thiserror::Error)]
enum RuleProblem {
    #[error(
        "is not a rule; expected PATTERN:MESSAGES:TTL, as in private-*:100:120s (a pattern with a comma needs a table)"
    )]
    Text,
    #[error("is not a rule; expected a text or a table")]
    Type,
    #[error("has no pattern; set pattern to the names of channels, with * for any characters")]
    NoPattern,
    #[error("has the unknown field {:?}; {}", .0, known(.0))]
    Unknown(String),
    #[error("{name} {text:?} is not {expected}")]
    Value { name: String, text: String, expected: &'static str },
    #[error("{0}")]
    Unusable(String),
    #[error(
        "is never used, because {0:?} before it matches the same channels; the first match counts"
    )]
    Hidden(String),
}

fn known(name: &str) -> String {
    keys::nearest(name, FIELDS).map_or_else(
        || format!("expected {}", FIELDS.join(", ")),
        |meant| format!("did you mean {meant}?"),
    )
}

/// The rules of an app whose channel names have at most `max_name_bytes`.
pub(crate) fn read(reader: &mut Reader<'_>, max_name_bytes: usize) -> Vec<HistoryRule> {
    let key = &keys::APP_HISTORY;
    let Some(text) = reader.text(key) else { return Vec::new() };
    let items = match items(&text) {
        Ok(items) => items,
        Err(problem) => {
            reader.wrong(key, problem);
            return Vec::new();
        }
    };
    let mut rules: Vec<HistoryRule> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        match checked(item, &rules, max_name_bytes) {
            Ok(rule) => rules.push(rule),
            Err(problem) => {
                reader.wrong(key, format_args!("{}: {problem}", name_of(item, n)));
            }
        }
    }
    rules
}

/// The rules of the setting as a user would type them in the environment.
pub(crate) fn shown(text: &str) -> String {
    let items = items(text).unwrap_or_default();
    let rules = items.iter().filter_map(|item| rule(item).ok());
    rules.map(|rule| text_of(&rule)).collect::<Vec<_>>().join(", ")
}

/// Comma-separated texts, or JSON.
fn items(text: &str) -> Result<Vec<Value>, HistoryProblem> {
    let items: Vec<Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => HistoryProblem::Array,
            _ => HistoryProblem::Json { line: error.line(), column: error.column() },
        })?
    } else {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts.map(Value::from).collect()
    };
    if items.len() > MAX_RULES {
        return Err(HistoryProblem::TooMany(items.len()));
    }
    Ok(items)
}

/// The name of a rule in problems.
fn name_of(item: &Value, n: usize) -> String {
    match item.as_str().or_else(|| item.get("pattern").and_then(Value::as_str)) {
        Some(text) => format!("the rule {text:?}"),
        None => format!("rule {}", n + 1),
    }
}

fn checked(
    item: &Value,
    before: &[HistoryRule],
    max_name_bytes: usize,
) -> Result<HistoryRule, RuleProblem> {
    let rule = rule(item)?;
    if let Some(problem) = rule.problem(max_name_bytes) {
        return Err(RuleProblem::Unusable(problem));
    }
    match before.iter().find(|earlier| earlier.hides(&rule)) {
        Some(earlier) => Err(RuleProblem::Hidden(earlier.pattern())),
        None => Ok(rule),
    }
}

fn rule(item: &Value) -> Result<HistoryRule, RuleProblem> {
    match item {
        Value::String(text) => rule_of_text(text.trim()),
        Value::Object(table) => rule_of_table(table),
        _ => Err(RuleProblem::Type),
    }
}

/// The rule of `PATTERN:MESSAGES:TTL`, which may be followed by `:NAME=VALUE` and `:client_events`. A user id
/// in a pattern may contain colons; such a pattern needs a table.
fn rule_of_text(text: &str) -> Result<HistoryRule, RuleProblem> {
    let mut parts = text.split(':');
    let [Some(pattern), Some(messages), Some(ttl)] = [parts.next(), parts.next(), parts.next()]
    else {
        return Err(RuleProblem::Text);
    };
    let mut rule = HistoryRule::new(pattern.trim());
    set(&mut rule, "messages", messages)?;
    set(&mut rule, "ttl", ttl)?;
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, "true"));
        let name = name.trim();
        set(&mut rule, if name == "grace" { "presence_grace" } else { name }, value)?;
    }
    Ok(rule)
}

fn rule_of_table(table: &Map<String, Value>) -> Result<HistoryRule, RuleProblem> {
    let pattern = table.get("pattern").ok_or(RuleProblem::NoPattern)?;
    let pattern =
        pattern.as_str().ok_or_else(|| wrong("pattern", &pattern.to_string(), "a text"))?;
    let mut rule = HistoryRule::new(pattern.trim());
    for (name, value) in table.iter().filter(|(name, _)| *name != "pattern") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        set(&mut rule, name, &text)?;
    }
    Ok(rule)
}

fn set(rule: &mut HistoryRule, name: &str, text: &str) -> Result<(), RuleProblem> {
    let text = text.trim();
    match name {
        "messages" => rule.messages = number(name, text)?,
        "bytes" => rule.bytes = number(name, text)?,
        "rewind" => rule.rewind = number(name, text)?,
        "ttl" => rule.ttl = time(name, text)?,
        "presence_grace" => rule.presence_grace = time(name, text)?,
        "client_events" => {
            rule.client_events = text.parse().map_err(|_| wrong(name, text, "true or false"))?;
        }
        _ => return Err(RuleProblem::Unknown(name.to_owned())),
    }
    Ok(())
}

fn wrong(name: &str, text: &str, expected: &'static str) -> RuleProblem {
    RuleProblem::Value { name: name.to_owned(), text: text.to_owned(), expected }
}

fn number(name: &str, text: &str) -> Result<usize, RuleProblem> {
    text.parse().map_err(|_| wrong(name, text, "a whole number"))
}

/// A time with a unit, or in seconds.
fn time(name: &str, text: &str) -> Result<Duration, RuleProblem> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit };
    let unit = UNITS.iter().find(|known| known.name == unit);
    let milliseconds = unit
        .zip(number.parse::<u64>().ok())
        .and_then(|(unit, number)| number.checked_mul(unit.milliseconds));
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| wrong(name, text, "a time with the unit ms, s, m, h or d, as in 120s"))
}

fn text_of(rule: &HistoryRule) -> String {
    let pattern = rule.pattern();
    let default = HistoryRule::new(&pattern);
    let mut text = format!("{pattern}:{}:{}", rule.messages, text_of_time(rule.ttl));
    if rule.bytes != default.bytes {
        text += &format!(":bytes={}", rule.bytes);
    }
    if rule.rewind != default.rewind {
        text += &format!(":rewind={}", rule.rewind);
    }
    if rule.presence_grace != default.presence_grace {
        text += &format!(":grace={}", text_of_time(rule.presence_grace));
    }
    if rule.client_events {
        text += ":client_events";
    }
    text
}

fn text_of_time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::typed::Values;

    /// The rules of a text, and its problems, one per line.
    fn read_text(text: &str) -> (Vec<HistoryRule>, String) {
        let mut values = Values::default();
        let mut problems = Vec::new();
        values.add(&keys::APP_HISTORY, text, Source::Environment("H".to_owned()));
        let mut warnings = Vec::new();
        let reader =
            &mut Reader { values: &values, problems: &mut problems, warnings: &mut warnings };
        let rules = read(reader, 200);
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        (rules, lines.join("\n"))
    }

    #[test]
    fn texts_and_tables_are_the_same_rules() {
        let text = "private-*:500:10m, presence-room.*:100:120:rewind=10:grace=15s:bytes=4096:client_events";
        let tables = r#"["private-*:500:600s", {"pattern": "presence-room.*", "rewind": 10,
            "presence_grace": "15s", "bytes": 4096, "client_events": true, "ttl": 120}]"#;
        let (rules, problems) = read_text(text);
        assert_eq!((problems.as_str(), rules.len()), ("", 2));
        assert_eq!(read_text(tables).0, rules);
        let [first, second] = &rules[..] else { unreachable!() };
        assert!(first.matches("private-orders.7") && !first.matches("presence-room.7"));
        assert_eq!((first.messages, first.ttl), (500, Duration::from_secs(600)));
        assert_eq!((second.rewind, second.bytes, second.client_events), (10, 4096, true));
        assert_eq!(second.presence_grace, Duration::from_secs(15));
        let shown = shown(tables);
        assert_eq!(
            shown,
            "private-*:500:600s, presence-room.*:100:120s:bytes=4096:rewind=10:grace=15s:client_events"
        );
        assert_eq!(read_text(&shown).0, rules);
        assert_eq!(read_text("[]").0, []);
        assert_eq!(read_text(r#"[{"pattern": "a"}]"#).0, [HistoryRule::new("a")]);
        assert_eq!(super::shown("a:1:1500ms"), "a:1:1500ms");
    }

    #[test]
    fn each_wrong_rule_is_a_problem_of_its_own() {
        for (text, told) in [
            (
                "private-*",
                r#"H in the environment: the rule "private-*": is not a rule; expected PATTERN:MESSAGES:TTL, as in"#,
            ),
            (":1:1s", "the pattern is empty; * matches every channel"),
            ("orders/*:1:1s", "the pattern matches no channel: a channel name consists of"),
            ("*:0:1s", "messages 0 is not from 1 to 100000"),
            ("*:x:1s", r#"messages "x" is not a whole number"#),
            ("*:1:0", "ttl 0ns is not a time of up to 7 days"),
            ("*:1:8d", "is not a time of up to 7 days"),
            ("*:1:2w", r#"ttl "2w" is not a time with the unit ms, s, m, h or d, as in 120s"#),
            ("*:1:99999999999999999999d", "is not a time with the unit"),
            ("*:1:1s:bytes=4194305", "bytes 4194305 is not from 1 to 4194304"),
            ("*:1:1s:rewind=2", "rewind 2 exceeds the 1 messages"),
            ("*:1:1s:rewnd=1", r#"has the unknown field "rewnd"; did you mean rewind?"#),
            ("*:1:1s:client_events=maybe", r#"client_events "maybe" is not true or false"#),
            (
                "private-*:1:1s:grace=15s",
                "presence_grace is set, but the pattern matches no presence",
            ),
            ("*:1:1s,news:1:1s", r#"the rule "news:1:1s": is never used, because "*" before it"#),
            (
                r#"[{"messages": 1}]"#,
                r#"rule 1: has no pattern; set pattern to the names of channels"#,
            ),
            (r#"[{"pattern": 7}]"#, r#"rule 1: pattern "7" is not a text"#),
            (
                r#"[{"pattern": "a", "mesages": 1}]"#,
                r#"the rule "a": has the unknown field "mesages"; did you mean messages?"#,
            ),
            (r#"[{"pattern": "a", "messages": 1.5}]"#, r#"messages "1.5" is not a whole number"#),
            ("[7]", "rule 1: is not a rule; expected a text or a table"),
            ("[", "is not JSON (line 1, column 1)"),
        ] {
            let problems = read_text(text).1;
            assert!(problems.contains(told), "{text}: {problems}");
            assert_eq!(problems.lines().count(), 1, "{problems}");
        }
        assert_eq!(read_text("a:0:1s, b:1:0s, c:1:1s").1.lines().count(), 2);
        let many = (0..101).map(|n| format!("a{n}:1:1s")).collect::<Vec<_>>().join(",");
        assert!(read_text(&many).1.contains("has 101 rules; an app has at most 100"));
    }
}
