//! What `config/reverb.php` may set beside `.env`, by its text alone.

pub(super) const ORIGINS: &str = "allowed origins";

/// The kinds of settings in which the file may differ from Reverb's original. Where the text does not show
/// it, they count as different.
pub(super) fn differences(file: &str) -> Vec<&'static str> {
    let code = code(file);
    let values = |name: &str| -> Vec<String> {
        let name = format!("'{name}'=>");
        code.match_indices(&name).map(|(at, name)| code[at + name.len()..].to_owned()).collect()
    };
    let all = |name: &str, expected: &str| values(name).iter().all(|it| it.starts_with(expected));
    let same = [
        (ORIGINS, !values("allowed_origins").is_empty() && all("allowed_origins", "['*']")),
        ("further apps", values("app_id").len() == 1 && all("provider", "'config'")),
        ("TLS", all("tls", "[]")),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
}

/// The code without comments and spaces, with single quotes.
fn code(file: &str) -> String {
    let mut out = String::with_capacity(file.len());
    let mut rest = file;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") || c == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if c == '\'' || c == '"' {
            let end = rest[1..].find(c).map_or(rest.len(), |at| at + 2);
            out.push_str(&rest[..end].replace('"', "'"));
            end
        } else {
            out.extend(Some(c).filter(|c| !c.is_whitespace()));
            c.len_utf8()
        };
        rest = &rest[skipped..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTALLED: &str = r#"<?php
        // 'allowed_origins' => ['example.com'],
        return ['servers' => ['reverb' => ['options' => ['tls' => []]]], /* 'tls' => ['x'] */
          'apps' => ["provider" => "config", 'apps' => [[ # 'app_id' => 2
            'app_id' => env('REVERB_APP_ID'), 'options' => ['useTLS' => env('A', 'https://x') === 'https'],
            'allowed_origins' => ["*"],
          ]]]];"#;

    #[test]
    fn differences_from_the_original_file_are_named() {
        assert!(differences(INSTALLED).is_empty(), "{:?}", differences(INSTALLED));
        for (old, new, what) in [
            (r#"["*"]"#, "['example.com']", "allowed origins"),
            (r#"["*"]"#, "explode(',', env('ORIGINS', '*'))", "allowed origins"),
            ("'allowed_origins' => [\"*\"]", "...$shared", "allowed origins"),
            ("]]]];", "], ['app_id' => 2, 'allowed_origins' => ['*']]]]];", "further apps"),
            (r#""config""#, "'database'", "further apps"),
            ("'tls' => []", "'tls' => ['local_cert' => '/c.pem']", "TLS"),
        ] {
            let changed = INSTALLED.replace(old, new);
            assert_ne!(changed, INSTALLED, "{old}");
            assert_eq!(differences(&changed), [what], "{new}");
        }
        for broken in ["", "<?php return $x;", "'", "/*", "é'é"] {
            assert!(differences(broken).contains(&ORIGINS), "{broken}");
        }
    }
}
