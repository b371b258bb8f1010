//! Sentences that no engineer would say, as far as a pattern finds them.

use std::sync::LazyLock;

use regex_lite::Regex;

use super::Problem;
use super::source::Source;

/// What a pattern finds, and what to write instead.
const PATTERNS: [(&str, &str); 11] = [
    (
        r"^\s*(?://[/!]?|\*|#+|\|)?\s*(?:Who|Whoever|Whom|Whose)\s.*[^?]$",
        "name the role: user, client, node, …",
    ),
    (r"^\s*(?://[/!]?|\*)\s*What (?:[a-z]+ ){1,12}[a-z`]+[.:]?$", "begin with a noun or a verb"),
    (
        r"\b(?:of|by|to|from|with|for|than|and|as|if|where) (?:who|whoever)\b (?:\w+)",
        "name the role: user, client, node, …",
    ),
    (r"\b[Ff]n (?:who|whoever|what)_\w+", "name the behaviour"),
    (r"[,;:] for (?:it|they|there|nobody|he|she|we|else|what) ", "write `because`"),
    (r"\b(?:is|are|was|were|be|been) told\b", "write `receives`, `is notified`, `reports`, …"),
    (r"\bmeanwhile\b", "say when: `while …`"),
    (r"\b(?:for|as|too) so long\b|\bfor so long\b|\bso long as\b", "say how long"),
    (r"\bthat which\b", "name it"),
    (r"\bthe one (?:that|who|which)\b", "name it"),
    (r"\bin vain\b", "write `without success`, `rejected`, …"),
];

/// `is no number`. There is no …, is no longer …: those are natural.
const IS_NO: &str = r"\b([A-Za-z]+) (?:is|are|was|were) no (\w+)";
const NATURAL_BEFORE: [&str; 3] = ["there", "There", "it"];
const NATURAL_AFTER: [&str; 4] = ["longer", "more", "need", "way"];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compile = |(pattern, advice)| (Regex::new(pattern).expect("a constant"), advice);
    PATTERNS.into_iter().map(compile).collect()
});
static IS_NO_COMPILED: LazyLock<Regex> = LazyLock::new(|| Regex::new(IS_NO).expect("a constant"));

pub(crate) fn check(source: &Source, problems: &mut Vec<Problem>) {
    // Portuguese has `no` too. The patterns themselves stand here.
    if source.name.contains("pt-BR") || source.name == "xtask/src/tidy/words.rs" {
        return;
    }
    for (n, line) in source.text.lines().enumerate() {
        for message in find(line) {
            problems.push(Problem {
                rule: "words",
                place: source.name.clone(),
                line: n + 1,
                message,
            });
        }
    }
}

/// Returns what is found in a line, with advice.
fn find(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (pattern, advice) in COMPILED.iter() {
        for one in pattern.find_iter(line) {
            found.push(format!("{:?}: {advice}", one.as_str().trim()));
        }
    }
    for one in IS_NO_COMPILED.captures_iter(line) {
        if !NATURAL_BEFORE.contains(&&one[1]) && !NATURAL_AFTER.contains(&&one[2]) {
            found.push(format!("{:?}: write `is not a …`, `has no …`", &one[0]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn stilted_sentences_are_found() {
        for line in [
            "/// Who has the token.",
            "// What comes late is dropped.",
            "the pause for who loads a page again",
            "it is closed, for it reads too slowly",
            "the client is told of it",
            "PORT is no number",
            "as long as it is away, the others go on meanwhile",
            "fn who_comes_back_is_a_member() {",
            "a node that is silent for so long",
        ] {
            assert_eq!(find(line).len(), 1, "{line}: {:?}", find(line));
        }
    }

    #[test]
    fn natural_sentences_are_not() {
        for line in [
            "There is no room.",
            "the key is no longer valid",
            "users who have the token",
            "// What is a channel?",
            "let what = 7;",
            "for it in items",
        ] {
            assert_eq!(find(line), Vec::<String>::new(), "{line}");
        }
    }
}
