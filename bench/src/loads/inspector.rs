//! The cost of open inspector pages for a server with many connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::reports::report::{Report, Start};
use crate::servers::server::{Server, Target};
use crate::subscribers::crowd::{Crowd, gather};
use crate::wire::publisher::answer;

/// The value of `CLARIM_INSPECTOR_TOKEN`.
const TOKEN: &str = "bench-inspector-token";

/// The page's polling interval.
const EVERY: Duration = Duration::from_secs(1);

/// The headers that Chromium adds to each request of the page.
const HEADERS: &str = "Connection: keep-alive\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\"\r\nAccept-Language: en-GB\r\n\
    sec-ch-ua-mobile: ?0\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\nReferer: http://127.0.0.1/inspector\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n";

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watched {
    #[arg(long, default_value_t = 50_000)]
    pub(crate) connections: usize,
    /// Give each connection a channel of its own, instead of one for all.
    #[arg(long)]
    pub(crate) own_channels: bool,
    /// Seconds that each view is open. A minute includes one ping of each connection.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Number of rounds through all views.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds until all must be connected.
    #[arg(long, default_value_t = 600)]
    pub(crate) patience: u64,
}

/// A view of the inspector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    Nothing,
    Overview,
    /// Polls the events in addition to the overview.
    Events,
    /// Loads the next hundred connections each second, as fast as a user presses "more".
    Connections,
    /// Loads the list of channels each second. The page itself loads it only on demand.
    Channels,
    /// The overview, by fifty users.
    Crowded,
}

impl View {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Overview,
        Self::Events,
        Self::Connections,
        Self::Channels,
        Self::Crowded,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nobody looks",
            Self::Overview => "one on the overview",
            Self::Events => "one on the events",
            Self::Connections => "one leafs through connections",
            Self::Channels => "one lists channels again and again",
            Self::Crowded => "fifty on the overview",
        }
    }

    const fn pages(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Crowded => 50,
            _ => 1,
        }
    }
}

impl Watched {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.rounds > 0 && self.seconds > 0, "--rounds and --seconds must be at least 1");
        gather(&server.target, self.connections, self.own_channels, |crowd| {
            crowd.wait_until_connected(self.connections, Duration::from_secs(self.patience))?;
            // Lets the server finish its work for the new connections.
            std::thread::sleep(Duration::from_secs(2));
            self.measure(server, crowd)
        })
    }

    fn measure(&self, server: &Server, crowd: &Crowd<'_>) -> Result<Report> {
        let mut report = Report::default();
        let mut shares: BTreeMap<View, Vec<f64>> = BTreeMap::new();
        for round in 0..self.rounds {
            for view in View::ALL {
                let start = Start::now(server)?;
                self.look(view, &server.target)?;
                let phase = start.phase(server)?;
                crowd.check()?;
                shares.entry(view).or_default().push(phase.share(phase.server.on_core) * 100.0);
                let marks = phase.disturbances().into_iter();
                report
                    .marks
                    .extend(marks.map(|mark| format!("{}, round {round}: {mark}", view.name())));
            }
        }
        let mut nobody = 0.0;
        for (view, mut shares) in shares {
            shares.sort_by(f64::total_cmp);
            let median = shares[shares.len() / 2];
            report.set(&format!("{}, CPU, % of a core", view.name()), median);
            report.set(&format!("{}, lowest", view.name()), shares[0]);
            report.set(&format!("{}, highest", view.name()), shares[shares.len() - 1]);
            // The baseline comes first.
            if view == View::Nothing {
                nobody = median;
            } else {
                report.set(&format!("{}, more than nobody", view.name()), median - nobody);
            }
        }
        Ok(report)
    }

    /// Polls like the view's pages do, spread over each second.
    fn look(&self, view: View, target: &Target) -> Result<()> {
        let begun = Instant::now();
        let count = view.pages();
        let mut pages = (0..count).map(|_| Page::open(target)).collect::<Result<Vec<_>>>()?;
        for second in 0..u32::try_from(self.seconds)? {
            for (place, page) in pages.iter_mut().enumerate() {
                wait_until(begun + EVERY * second + EVERY.mul_f64(place as f64 / count as f64));
                page.ask(view, target)?;
            }
        }
        wait_until(begun + Duration::from_secs(self.seconds));
        Ok(())
    }
}

fn wait_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// An open page.
struct Page {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Position of the last event that was loaded.
    events: Option<u64>,
    /// Position of the last connection that was loaded.
    connections: Option<String>,
}

impl Page {
    fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, target.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, buffer: Vec::new(), events: None, connections: None })
    }

    /// One poll of the page.
    fn ask(&mut self, view: View, target: &Target) -> Result<()> {
        let overview = self.get("overview")?;
        let found = overview["apps"].as_array().is_some_and(|apps| !apps.is_empty());
        ensure!(found, "invalid measurement: the server has no inspector: {overview}");
        match view {
            View::Nothing | View::Overview | View::Crowded => {}
            View::Events => {
                let after = self.events.map(|after| format!("?after={after}")).unwrap_or_default();
                self.events = self.get(&format!("stream{after}"))?["next"].as_u64();
            }
            View::Connections => {
                let after = self.connections.take();
                let after = after.map(|after| format!("?after={after}")).unwrap_or_default();
                let page = self.get(&format!("connections{after}"))?;
                self.connections = page["next"].as_str().map(str::to_owned);
            }
            View::Channels => {
                self.get(&format!("apps/{}/channels", target.app_id))?;
            }
        }
        Ok(())
    }

    fn get(&mut self, path: &str) -> Result<Value> {
        let read = self.read(path).with_context(|| format!("no response to {path}"));
        let length = read?;
        let whole = &self.buffer[..length];
        let head = whole
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .context("response without headers")?;
        Ok(serde_json::from_slice(&whole[head + 4..])?)
    }

    /// Sends a request, reads the response into the buffer, and returns its length.
    fn read(&mut self, path: &str) -> Result<usize> {
        let request = format!(
            "GET /inspector/api/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n{HEADERS}\r\n"
        );
        self.stream.write_all(request.as_bytes())?;
        self.buffer.clear();
        loop {
            let mut part = [0; 64 << 10];
            let n = self.stream.read(&mut part)?;
            ensure!(n > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&part[..n]);
            if let Some(length) = answer(&self.buffer)? {
                return Ok(length);
            }
        }
    }
}
