//! The collector of traces, from the environment variables of OpenTelemetry.

use hyper::Uri;

use crate::problem::Problem;
use crate::source::Source;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const PROTOCOL: &str = "http/protobuf";

/// The URL of the collector, if traces are enabled.
pub(crate) fn read(environment: &[(String, String)], problems: &mut Vec<Problem>) -> Option<Uri> {
    let get = |name: &str| {
        let found = environment.iter().find(|(it, text)| it == name && !text.is_empty());
        found.map(|(_, text)| text.as_str())
    };
    let is = |name, word: &str| get(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    let of_traces = get(TRACES_ENDPOINT).map(|text| (TRACES_ENDPOINT, text.to_owned()));
    let (name, url) = of_traces.or_else(|| {
        let base = get(ENDPOINT)?.trim_end_matches('/');
        Some((ENDPOINT, format!("{base}/v1/traces")))
    })?;
    let mut problem = |name: &str, what: String| {
        problems.push(Problem::new(Source::Environment(name.to_owned()), what));
    };
    let protocol = PROTOCOLS.into_iter().find_map(|name| Some((name, get(name)?)));
    if let Some((name, text)) = protocol.filter(|(_, text)| *text != PROTOCOL) {
        let what = "is not supported; expected http/protobuf, at port 4318 of the collector";
        problem(name, format!("{text:?} {what}"));
        return None;
    }
    let url = url.parse().ok().filter(fits);
    if url.is_none() {
        // The URL is not shown, because it may contain a key.
        let what = "is not the URL of a collector; expected a URL like http://127.0.0.1:4318 without user and \
                    query, since keys belong into OTEL_EXPORTER_OTLP_HEADERS";
        problem(name, what.to_owned());
    }
    url
}

fn fits(url: &Uri) -> bool {
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    matches!(url.scheme_str(), Some("http" | "https")) && url.query().is_none() && !has_user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(variables: &[(&str, &str)]) -> Result<Option<String>, Problem> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        let mut problems = Vec::new();
        let url = read(&variables, &mut problems);
        match problems.pop() {
            Some(problem) => Err(problem),
            None => Ok(url.map(|url| url.to_string())),
        }
    }

    #[test]
    fn the_variables_of_opentelemetry_name_the_collector() {
        let url = |url: &str| Ok(Some(url.to_owned()));
        assert_eq!(collector(&[]), Ok(None));
        assert_eq!(collector(&[(ENDPOINT, "http://c:4318/")]), url("http://c:4318/v1/traces"));
        let both = [(ENDPOINT, "http://c:4318"), (TRACES_ENDPOINT, "https://t/own")];
        assert_eq!(collector(&both), url("https://t/own"));
        let of = |more| collector(&[(ENDPOINT, "http://c"), more]);
        assert_eq!(of(("OTEL_SDK_DISABLED", "true")), Ok(None));
        assert_eq!(of(("OTEL_TRACES_EXPORTER", "none")), Ok(None));
        assert_eq!(of(("OTEL_TRACES_EXPORTER", "otlp")), url("http://c/v1/traces"));
        assert_eq!(of((PROTOCOLS[1], PROTOCOL)), url("http://c/v1/traces"));
    }

    #[test]
    fn other_urls_are_refused_and_not_shown() {
        for url in ["collector:4317", "ftp://c", "https://c/?token=hush", "https://a:hush@c"] {
            let why = collector(&[(TRACES_ENDPOINT, url)]).unwrap_err().to_string();
            assert!(why.starts_with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT in the environment: "));
            assert!(why.contains("OTLP_HEADERS") && !why.contains("hush"), "{why}");
        }
        let why = collector(&[(ENDPOINT, "http://c:4317"), (PROTOCOLS[1], "grpc")])
            .unwrap_err()
            .to_string();
        assert!(why.contains("\"grpc\" is not supported; expected http/protobuf"), "{why}");
    }
}
