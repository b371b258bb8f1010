//! The rules of phpdotenv, with which Laravel reads `.env`.
//!
//! Laravel does not start with a file that has an unreadable line. Here, such a line is skipped and reported,
//! and never hides the lines below it.

/// The variables of a file.
pub(super) struct Parsed<'a> {
    pub(super) variables: Vec<Assignment>,
    pub(super) unreadable: Vec<Unreadable<'a>>,
}

/// A variable with its value.
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Number of its first line, and of its last one.
    pub(super) lines: (usize, usize),
}

/// A line that is skipped.
pub(super) struct Unreadable<'a> {
    pub(super) line: usize,
    /// The name of the variable, if it has a valid one.
    pub(super) name: Option<&'a str>,
    pub(super) reason: &'static str,
}

const NO_ASSIGNMENT: &str = "is not NAME=value";
const OPEN_QUOTE: &str = "has no closing quote; close it, or write the value without quotes";
const TEXT_AFTER: &str = "has text after its value; a value with spaces needs quotes";
const ESCAPE: &str = "has an unknown escape sequence; in double quotes, write a backslash as \\\\";

/// Parses a file, whose lines end with `\n`. `environment` returns variables of the process, which win over
/// those of the file.
pub(super) fn parse<'a>(text: &'a str, environment: &dyn Fn(&str) -> Option<String>) -> Parsed<'a> {
    let mut parsed = Parsed { variables: Vec::<Assignment>::new(), unreadable: Vec::new() };
    let mut rest = text;
    let mut line_number = 1;
    while !rest.is_empty() {
        let line = first_line(rest);
        let entry = entry(rest);
        let read = match &entry {
            Ok(Some(Entry { value: Some(value), .. })) => value.end,
            _ => line.len(),
        };
        let last_line = line_number + rest[..read].matches('\n').count();
        match entry {
            Ok(None) => {}
            Ok(Some(Entry { name, value })) => {
                let value = value.map(|value| {
                    resolve(value, |name| {
                        let of_file = || parsed.variables.iter().find(|it| it.name == name);
                        environment(name).or_else(|| of_file().map(|it| it.value.clone()))
                    })
                });
                // The last of several lines with the same name wins.
                parsed.variables.retain(|it| it.name != name);
                parsed.variables.extend(value.map(|value| Assignment {
                    name: name.to_owned(),
                    value,
                    lines: (line_number, last_line),
                }));
            }
            Err(reason) => {
                let name = variable_name(line);
                parsed.unreadable.push(Unreadable { line: line_number, name, reason });
            }
        }
        rest = rest[read..].split_once('\n').map_or("", |(_, rest)| rest);
        line_number = last_line + 1;
    }
    parsed
}

/// Returns the name of the variable that a line of `.env` sets.
pub fn variable_name(line: &str) -> Option<&str> {
    valid_name(line.split_once('=')?.0)
}

/// An entry of a file. Without value it removes the variable.
struct Entry<'a> {
    name: &'a str,
    value: Option<Value>,
}

/// A value before its variables are replaced.
struct Value {
    text: String,
    /// Positions of `$` in the text where a variable may be named.
    dollars: Vec<usize>,
    /// Where it ends in the rest of the file. The line has nothing more than spaces and a comment.
    end: usize,
}

/// The entry at the start of `rest`, if its first line has one.
fn entry(rest: &str) -> Result<Option<Entry<'_>>, &'static str> {
    let line = first_line(rest);
    let trimmed = line.trim_matches(is_trimmed);
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(None);
    }
    let Some((name, value)) = line.split_once('=') else {
        let name = valid_name(line).ok_or(NO_ASSIGNMENT)?;
        return Ok(Some(Entry { name, value: None }));
    };
    let name = valid_name(name).ok_or(NO_ASSIGNMENT)?;
    let at = line.len() - value.len();
    let value = match value.trim_start_matches(is_trimmed).chars().next() {
        // Only a quote right after the = may be closed on another line.
        Some('"') if value.starts_with('"') => double_quoted(rest, at)?,
        Some('"') => double_quoted(line, line.len() - value.trim_start_matches(is_trimmed).len())?,
        Some('\'') => single_quoted(value)?,
        _ => unquoted(value)?,
    };
    // Positions in values without quotes do not matter: they end with their line.
    let end = value.end.max(line.len());
    Ok(Some(Entry { name, value: Some(Value { end, ..value }) }))
}

/// The name in the part of a line before its `=`, which may be exported and quoted.
fn valid_name(part: &str) -> Option<&str> {
    let part = part.trim_matches(is_trimmed);
    let name = match part.strip_prefix("export") {
        Some(name) if name.starts_with(is_space) => name.trim_start_matches(is_space),
        _ => part,
    };
    let unquoted =
        ['"', '\''].into_iter().find_map(|quote| name.strip_prefix(quote)?.strip_suffix(quote));
    let name = unquoted.unwrap_or(name);
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    (!name.is_empty() && name.bytes().all(is_valid)).then_some(name)
}

/// A value without quotes: it ends with a space or a `#`, and may contain quotes and backslashes.
fn unquoted(part: &str) -> Result<Value, &'static str> {
    let part = part.trim_matches(is_trimmed);
    let end = part.find(|c| c == '#' || is_space(c)).unwrap_or(part.len());
    let (text, after) = part.split_at(end);
    let after = after.trim_start_matches(is_space);
    if !after.is_empty() && !after.starts_with('#') {
        return Err(TEXT_AFTER);
    }
    let dollars = text.match_indices('$').map(|(at, _)| at).collect();
    Ok(Value { text: text.to_owned(), dollars, end: 0 })
}

/// A value in single quotes, in which nothing is special.
fn single_quoted(part: &str) -> Result<Value, &'static str> {
    let inner = part.trim_matches(is_trimmed).strip_prefix('\'').unwrap_or_default();
    let (text, after) = inner.split_once('\'').ok_or(OPEN_QUOTE)?;
    nothing_after(after)?;
    Ok(Value { text: text.to_owned(), dollars: Vec::new(), end: 0 })
}

/// The value in double quotes whose quote is at `start`. It may have several lines.
fn double_quoted(rest: &str, start: usize) -> Result<Value, &'static str> {
    let mut value = Value { text: String::new(), dollars: Vec::new(), end: 0 };
    let mut chars = rest[start + 1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                value.end = start + 1 + at + 1;
                nothing_after(first_line(&rest[value.end..]))?;
                return Ok(value);
            }
            '\\' => value.text.push(match chars.next().ok_or(OPEN_QUOTE)?.1 {
                c @ ('"' | '\\' | '$') => c,
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                _ => return Err(ESCAPE),
            }),
            c => {
                if c == '$' {
                    value.dollars.push(value.text.len());
                }
                value.text.push(c);
            }
        }
    }
    Err(OPEN_QUOTE)
}

/// Checks that nothing follows a closing quote but spaces and a comment.
fn nothing_after(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start_matches(is_trimmed).trim_start_matches(is_space);
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err(TEXT_AFTER) }
}

/// Replaces `${NAME}`. Unknown variables stay as they were typed, and so does `$NAME`.
fn resolve(value: Value, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut text = value.text;
    // From the last to the first, so that a name may contain another variable.
    for at in value.dollars.into_iter().rev() {
        let known = text[at..].strip_prefix("${").and_then(|rest| {
            let (name, _) = rest.split_once('}')?;
            let is_valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
            let is_name = !name.is_empty() && name.bytes().all(is_valid);
            Some((at + "${}".len() + name.len(), variable(name).filter(|_| is_name)?))
        });
        if let Some((end, known)) = known {
            text.replace_range(at..end, &known);
        }
    }
    text
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Whether phpdotenv trims the character.
fn is_trimmed(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\0' | '\u{b}')
}

/// Whether phpdotenv counts the character as a space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}
