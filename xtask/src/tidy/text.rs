//! Rules about lines: lengths, purity, names, prefixes of channels.

use super::Problem;
use super::source::Source;

const MAX_LINES: usize = 500;
const MAX_TEST_LINES: usize = 800;
const MAX_WIDTH: usize = 110;

/// Crates without I/O, and what would give it away.
const PURE: [&str; 3] =
    ["crates/clarim-protocol/src", "crates/clarim-hub/src", "crates/clarim-cluster/src"];
const IMPURE: [&str; 5] = ["tokio", "std::net", "Instant::now", "SystemTime::now", "std::thread"];

/// Prefixes of channel names belong to the kind and the name of a channel.
const PREFIXES: [&str; 3] = ["\"private-", "\"presence-", "(\"cache-\""];
const PREFIX_FILES: &str = "crates/clarim-protocol/src/channel";

/// Names that say nothing.
const EMPTY_NAMES: [&str; 4] = ["Manager", "Helper", "Util", "Factory"];

pub(crate) fn check(source: &Source, problems: &mut Vec<Problem>) {
    let Source { name, text } = source;
    if !source.is_rust() {
        return;
    }
    let mut complain = |rule: &'static str, line: usize, message: String| {
        problems.push(Problem { rule, place: name.clone(), line, message });
    };
    let lines = text.lines().count();
    let max = if source.is_test() { MAX_TEST_LINES } else { MAX_LINES };
    if lines > max {
        complain("file-length", 0, format!("{lines} lines, at most {max}: split it by subject"));
    }
    for (n, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // A sentence for users, or a test's wire text, may be as long as it is.
        if columns > MAX_WIDTH && !line.contains('"') && !line.ends_with('\\') {
            complain("line-length", n + 1, format!("{columns} columns, at most {MAX_WIDTH}"));
        }
    }
    if name.starts_with("xtask/src/tidy/") {
        return;
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    for (n, line) in code.lines().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        if PURE.iter().any(|folder| name.starts_with(folder)) && !is_comment {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                complain("pure", n + 1, format!("{word} in a crate without I/O"));
            }
        }
        let has_prefixes = name.starts_with(PREFIX_FILES);
        if !source.is_test() && !has_prefixes && name.starts_with("crates/") && !is_comment {
            for prefix in PREFIXES.iter().filter(|prefix| line.contains(**prefix)) {
                let message = format!("{prefix}…\": only {PREFIX_FILES} looks at channel prefixes");
                complain("channel-prefix", n + 1, message);
            }
        }
        for word in EMPTY_NAMES {
            if line.contains(&format!("struct {word}")) || line.contains(&format!("{word} {{")) {
                complain("empty-name", n + 1, format!("the name {word} says nothing"));
            }
        }
    }
}
