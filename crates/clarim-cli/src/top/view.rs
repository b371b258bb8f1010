//! The screen.

use chrono::{DateTime, Local};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table};

use super::choice::Choice;
use super::sample::{Event, Picture};

/// Width of a column of figures.
const FIGURE: u16 = 26;

/// The keys, for the help.
const KEYS: [(&str, &str); 8] = [
    ("q", "quit"),
    ("?", "this help"),
    ("s", "sort the channels: subscriptions, users, name"),
    ("/", "filter the channels; Enter keeps the filter, Escape clears it"),
    ("↑ ↓", "scroll the channels; also Page Up, Page Down and Home"),
    ("Tab", "next app"),
    ("Space", "pause the events"),
    ("Ctrl+C", "quit"),
];

pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, choice: &Choice) {
    let shown = figures(picture);
    let columns = usize::from(frame.area().width / FIGURE).clamp(1, shown.len());
    let lines = shown.len().div_ceil(columns);
    let [title, top, graphs, middle, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lines as u16),
        Constraint::Length(6),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head(picture), title);
    show_figures(frame, &shown, lines, top);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(graphs);
    graph(frame, left, "Connections", picture.connections.iter().copied());
    graph(frame, right, "Frames sent per second", picture.sent.iter().copied());
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(middle);
    show_channels(frame, picture, choice, left);
    show_events(frame, picture, choice.is_paused, right);
    if choice.shows_help {
        show_help(frame, middle);
    }
    frame.render_widget(keys(choice), foot);
}

fn keys(choice: &Choice) -> Paragraph<'_> {
    if choice.is_typing {
        return Paragraph::new(format!("filter: {}_   Enter keep · Escape clear", choice.filter));
    }
    let filter = if choice.filter.is_empty() { "" } else { ": " };
    let text = format!(
        "? help · q quit · s sort: {} · / filter{filter}{} · space pause · tab next app",
        choice.order.name(),
        choice.filter
    );
    Paragraph::new(text).dim()
}

fn show_help(frame: &mut Frame<'_>, area: Rect) {
    let lines =
        KEYS.map(|(key, effect)| Line::from(vec![format!("{key:8}").bold(), effect.into()]));
    let block = Block::bordered().title(" Keys ");
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines.to_vec()).block(block), area);
}

fn head(picture: &Picture) -> Paragraph<'_> {
    let mut line = vec!["clarim ".bold(), Span::from(picture.overview.version.clone())];
    line.push(format!("  {}  ", picture.url).into());
    line.push(match &picture.error {
        Some(error) => Span::from(error.clone()).red().bold(),
        None => format!("up {}", duration(picture.overview.uptime_ms / 1_000)).into(),
    });
    Paragraph::new(Line::from(line))
}

type Figure = (&'static str, String);

fn figures(picture: &Picture) -> Vec<Figure> {
    let overview = &picture.overview;
    let rates = &picture.rates;
    let latency = rates.publish.map_or_else(
        || ("–".to_owned(), "–".to_owned()),
        |(mean, p99)| (format!("{mean:.2} ms"), format!("≤ {p99} ms")),
    );
    let hooks = &overview.webhooks;
    let failures = [(hooks.failed, "failed"), (hooks.dropped, "dropped")];
    let webhooks = failures
        .iter()
        .filter(|(count, _)| *count > 0)
        .fold(whole(hooks.sent), |text, (count, what)| format!("{text}, {} {what}", whole(*count)));
    let mut figures = vec![
        ("Connections", whole(overview.connections())),
        ("Channels", whole(overview.channels.values().sum())),
        ("Subscriptions", whole(overview.subscriptions)),
        ("Published", format!("{}/s", whole(rates.published.round() as u64))),
        ("Received", format!("{}/s", whole(rates.received.round() as u64))),
        ("Sent", format!("{}/s", whole(rates.sent.round() as u64))),
        ("Publish, mean", latency.0),
        ("– p99", latency.1),
        ("Sent", format!("{}/s", bytes(rates.bytes_out as u64))),
        ("Send queues", bytes(overview.outbox_bytes)),
        ("Members", whole(overview.members)),
        ("Webhooks", webhooks),
    ];
    if let Some(cluster) = &overview.cluster {
        figures.push(("Bus", if cluster.is_up { "up" } else { "DOWN" }.to_owned()));
        figures.push(("– lag", format!("{:.1} ms", cluster.lag_us as f64 / 1_000.0)));
        figures.push(("Other nodes", whole(cluster.nodes.len() as u64)));
    }
    figures
}

/// Figures in columns, from top to bottom.
fn show_figures(frame: &mut Frame<'_>, figures: &[Figure], lines: usize, area: Rect) {
    let columns = figures.chunks(lines);
    let areas = Layout::horizontal(vec![Constraint::Fill(1); columns.len()]).split(area);
    for (column, area) in columns.zip(areas.iter()) {
        let lines: Vec<Line<'_>> = column
            .iter()
            .map(|(name, value)| Line::from(vec![format!("{name} ").dim(), value.clone().bold()]))
            .collect();
        frame.render_widget(Paragraph::new(lines), *area);
    }
}

fn graph(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    values: impl DoubleEndedIterator<Item = u64>,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let mut shown: Vec<u64> = values.rev().take(width).collect();
    shown.reverse();
    let most = shown.iter().max().copied().unwrap_or_default();
    let block = Block::bordered().title(format!(" {title} (max: {}) ", whole(most)));
    let style = Style::new().fg(Color::Cyan);
    frame.render_widget(Sparkline::default().block(block).data(shown).style(style), area);
}

fn show_channels(frame: &mut Frame<'_>, picture: &Picture, choice: &Choice, area: Rect) {
    let page = &picture.channels;
    let mut channels: Vec<_> = page.channels.iter().collect();
    choice.order.sort(&mut channels);
    // The last channel stays in view.
    let skipped = choice.skipped.min(channels.len().saturating_sub(1));
    let rows = channels.into_iter().skip(skipped).map(|channel| {
        let users = channel.users.filter(|users| *users > 0).map(whole).unwrap_or_default();
        Row::new([
            Cell::from(plain(&channel.name)),
            Cell::from(Line::from(whole(channel.subscriptions)).right_aligned()),
            Cell::from(Line::from(users).right_aligned()),
        ])
    });
    let shown = page.channels.len() as u64;
    let of = if shown < page.count {
        format!("first {shown} of {} by name", whole(page.count))
    } else {
        whole(page.count)
    };
    let title = format!(" Channels of app {}: {of} ", picture.app().unwrap_or("–"));
    let header =
        Row::new(["Channel", "  Subs", "Users"]).style(Style::new().add_modifier(Modifier::DIM));
    let widths = [Constraint::Fill(1), Constraint::Length(6), Constraint::Length(5)];
    let table = Table::new(rows, widths).header(header).block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn show_events(frame: &mut Frame<'_>, picture: &Picture, is_paused: bool, area: Rect) {
    let title = if is_paused { " Events (paused) " } else { " Events " };
    let block = Block::new().borders(Borders::ALL).title(title);
    let lines: Vec<Line<'_>> =
        picture.events.iter().rev().take(usize::from(area.height)).map(event_line).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn event_line(event: &Event) -> Line<'_> {
    let at = DateTime::from_timestamp_millis(event.at as i64).unwrap_or_default();
    let time = at.with_timezone(&Local).format("%H:%M:%S ").to_string();
    let colour = match &*event.kind {
        "published" => Color::Green,
        "received" => Color::Cyan,
        _ => Color::DarkGray,
    };
    let mut line = vec![time.dim(), format!("{:9} ", event.kind).fg(colour)];
    let place = event.channel.as_deref().or(event.socket.as_deref()).unwrap_or_default();
    line.push(format!("{} ", plain(place)).into());
    line.push(format!("{} ", plain(event.event.as_deref().unwrap_or_default())).bold());
    line.push(plain(event.data.as_deref().unwrap_or_default()).dim());
    Line::from(line)
}

/// Text of a client without control characters, which could move the cursor.
fn plain(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.chars().filter(|c| !c.is_control()).collect::<String>())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A number with commas between thousands.
fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: u64) -> String {
    let [kib, mib] = [10, 20].map(|bits| number as f64 / f64::from(1 << bits));
    match number {
        0..1_024 => format!("{number} B"),
        1_024..1_048_576 => format!("{kib:.1} KiB"),
        _ => format!("{mib:.1} MiB"),
    }
}

fn duration(seconds: u64) -> String {
    let minutes = seconds / 60;
    let hours = seconds / 3_600;
    let days = seconds / 86_400;
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(picture: &Picture, width: u16, height: u16) -> String {
        screen_of(picture, &Choice::default(), width, height)
    }

    fn screen_of(picture: &Picture, choice: &Choice, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, picture, choice)).unwrap();
        terminal.backend().to_string()
    }

    fn picture() -> Picture {
        let mut picture = Picture::default();
        let overview = |uptime_ms: u64, frames: u64| {
            serde_json::from_value(serde_json::json!({
                "version": "0.1.0", "uptime_ms": uptime_ms,
                "apps": [{ "app": "shop", "connections": 12_345 }],
                "channels": { "public": 2, "presence": 1 }, "subscriptions": 3, "members": 1,
                "received": 0, "frames": frames, "bytes_out": 0, "outbox_bytes": 2_048,
                "publishes": { "events": 0, "microseconds": 0, "ends": [50], "buckets": [0, 0] },
                "webhooks": { "sent": 4, "failed": 1, "dropped": 0 },
                "cluster": { "is_up": false, "lag_us": 700, "nodes": ["a", "b"] },
            }))
            .unwrap()
        };
        picture.update(overview(90_061_000, 0));
        picture.update(overview(90_062_000, 1_500));
        picture.channels = serde_json::from_value(serde_json::json!({
            "channels": [
                { "name": "news", "subscriptions": 1, "users": null },
                { "name": "presence-room", "subscriptions": 2, "users": 1 },
            ],
            "count": 1_002,
        }))
        .unwrap();
        let event = r#"{"at":3661000,"kind":"published","channel":"news","event":"rise",
            "data":"{\n  \"evil\": \"\u001b[2J\"\n}"}"#;
        picture.add_events(vec![serde_json::from_str(event).unwrap()]);
        picture
    }

    #[test]
    fn the_screen_shows_the_figures() {
        let shown = screen(&picture(), 140, 30);
        for wanted in [
            "up 1 d 1 h",
            "Connections 12,345",
            "Sent 1,500/s",
            "Send queues 2.0 KiB",
            "Webhooks 4, 1 failed ",
            "Bus DOWN",
            "Other nodes 2",
            "Channels of app shop: first 2 of 1,002 by name",
            "published news rise",
            "s sort: subscriptions",
        ] {
            assert!(shown.contains(wanted), "{wanted:?} is not in\n{shown}");
        }
        let room = shown.find("presence-room");
        let news = shown.find("│news");
        assert!(
            room.is_some() && room < news,
            "the channel with more subscribers is above\n{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "an event moves the cursor");
    }

    #[test]
    fn nothing_is_cut_off_on_a_small_screen() {
        let mut picture = picture();
        picture.channels = serde_json::from_str(
            r#"{"channels":[{"name":"private-orders.1000","subscriptions":4321,"users":null}],"count":1}"#,
        )
        .unwrap();
        let shown = screen(&picture, 80, 24);
        for wanted in [
            "Publish, mean –",
            "Webhooks 4, 1 failed",
            "Other nodes 2",
            "│private-orders.1000",
            "4,321",
        ] {
            assert!(shown.contains(wanted), "{wanted:?} is not in\n{shown}");
        }
    }

    #[test]
    fn the_channels_can_be_scrolled_and_the_keys_explained() {
        let mut choice = Choice { skipped: 7, ..Choice::default() };
        let shown = screen_of(&picture(), &choice, 80, 24);
        assert!(
            shown.contains("│news") && !shown.contains("presence-room"),
            "the last one\n{shown}"
        );
        choice.shows_help = true;
        assert!(screen_of(&picture(), &choice, 80, 24).contains("sort the channels"));
        choice.is_typing = true;
        choice.filter = "orders".to_owned();
        assert!(screen_of(&picture(), &choice, 80, 24).contains("filter: orders_"));
    }

    #[test]
    fn an_error_is_shown_in_the_first_line() {
        let error = Some("cannot be reached".to_owned());
        let shown = screen(&Picture { error, ..picture() }, 140, 30);
        assert!(shown.lines().next().unwrap().contains("cannot be reached"), "{shown}");
    }

    #[test]
    fn every_size_of_terminal_works() {
        for (width, height) in [(1, 1), (10, 3), (30, 8), (80, 24), (300, 100)] {
            screen(&picture(), width, height);
        }
        screen(&Picture::default(), 80, 24);
    }
}
