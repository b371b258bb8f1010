//! The file that keeps the histories of a single node.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Once};

use clarim_bus::{Bus, FileBus};
use clarim_cluster::channel_of;
use clarim_hub::{Node, OutputSink};
use clarim_protocol::ChannelName;

use super::HISTORY_PREFIX;

const ALL_ENDED: &str = "the settings of apps have changed several times at once, so all histories begin anew, and clients that missed events get a gap";

/// The open file. No other process can open it.
#[derive(Debug, Clone)]
pub(crate) struct HistoryFile(FileBus);

impl HistoryFile {
    /// Opens a file, or creates it. `lacks_events`: the node has published events since the file was last
    /// open.
    pub(crate) fn open(
        path: &Path,
        lacks_events: bool,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let opened =
            if lacks_events { FileBus::open_incomplete(path) } else { FileBus::open(path) };
        let file = opened?;
        if file.found().is_incomplete {
            tracing::warn!(
                code = "histories_incomplete",
                path = %path.display(),
                "the file of the histories may lack the last events; clients that missed some get a gap"
            );
        }
        Ok(Self(file))
    }

    pub(crate) fn bus(&self) -> Bus {
        Bus::new(self.0.clone())
    }

    /// Ends the histories of channels that have no rule. They lack what is published until they have one
    /// again. `rules`: the version of the apps' settings that is new. If there is a later one, all histories
    /// end, because each channel may have been without a rule in between.
    pub(crate) fn end_unruled<S>(&self, node: Arc<Node<S>>, rules: u64)
    where
        S: OutputSink + Send + Sync + 'static,
    {
        let warning = Once::new();
        self.0.retain_logs(move |log| {
            let is_last = node.apps().changes() == rules;
            if !is_last {
                warning.call_once(|| tracing::warn!(code = "histories_ended", "{ALL_ENDED}"));
            }
            is_last && has_rule(&node, log)
        });
    }
}

fn has_rule<S: OutputSink>(node: &Node<S>, log: &str) -> bool {
    let found = channel_of(HISTORY_PREFIX, log).and_then(|(app, channel)| {
        let app = node.apps().find_by_id(app)?;
        let channel = ChannelName::parse(channel, usize::MAX).ok()?;
        node.apps().get(app).history_of(&channel).map(drop)
    });
    found.is_some()
}
