//! The channels of this node on the bus: their subjects and logs, and those that are being opened.

mod log_gaps;
mod logs;
mod opening;
mod subjects;

pub(super) use log_gaps::LogGaps;
pub(super) use logs::{Logs, NewEntry};
pub(super) use opening::{ChannelOpenings, Doubt};
pub(super) use subjects::Subjects;
