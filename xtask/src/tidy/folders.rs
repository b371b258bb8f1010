//! How many files a folder has.

use std::collections::BTreeMap;

use super::Problem;
use super::source::Source;

const MAX_FILES: usize = 12;

/// A folder with more files is not read at a glance.
pub(crate) fn check(sources: &[Source]) -> Vec<Problem> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.name.ends_with(".md")) {
        *folders.entry(source.folder()).or_default() += 1;
    }
    let full = folders.iter().filter(|(_, count)| **count > MAX_FILES);
    // One problem for each file too many, so that their number may shrink.
    full.flat_map(|(folder, count)| {
        let problem = Problem {
            rule: "files-in-folder",
            place: (*folder).to_owned(),
            line: 0,
            message: format!("{count} files, at most {MAX_FILES}: split the folder by subject"),
        };
        std::iter::repeat_n(problem, count - MAX_FILES)
    })
    .collect()
}
