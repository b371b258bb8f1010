//! Events of external publishers, which use the bus without being nodes.

use std::borrow::Cow;

use clarim_cluster::ExternalEvent;
use clarim_protocol::{Frame, server};
use serde_json::value::RawValue;

use crate::address::ChannelKey;
use crate::node::Node;
use crate::outputs::OutputSink;

/// Returns the frame of an event, if its names and sizes are within the limits.
pub(super) fn frame_of<S: OutputSink>(
    node: &Node<S>,
    channel: &ChannelKey,
    event: &ExternalEvent<'_>,
) -> Option<Frame> {
    let limits = &node.app(channel.app).limits;
    let text: Cow<'_, str> = serde_json::from_str(event.data).ok()?;
    let fits = !event.name.is_empty()
        && event.name.len() <= limits.event_name_bytes
        && text.len() <= limits.event_data_bytes;
    let data: &RawValue = serde_json::from_str(event.data).ok()?;
    fits.then(|| server::event(event.name, &channel.name, data))
}
