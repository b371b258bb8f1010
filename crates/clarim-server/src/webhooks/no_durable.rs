//! Stands in for webhooks on disk in a build without the feature `durable-webhooks`.

#![allow(
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::io;
use std::path::Path;

use clarim_hub::{Apps, ChannelEvent};

use super::sender::Sender;
use super::waiting::Waiting;
use crate::config::Webhook;

#[derive(Debug)]
pub(super) enum WebhookDirectory {}

#[derive(Debug)]
pub(super) enum DurableQueue {}

impl WebhookDirectory {
    pub(super) fn open(_path: &Path, _is_clustered: bool) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn queue(&self, _app: &str, _webhook: &Webhook, _twins: usize) -> DurableQueue {
        match *self {}
    }

    pub(super) fn leaves(&mut self, _apps: &Apps) -> Vec<ChannelEvent> {
        match *self {}
    }

    pub(super) fn record(&mut self, _apps: &Apps, _event: &ChannelEvent) {
        match *self {}
    }
}

impl DurableQueue {
    pub(super) async fn run(&self, _sender: &Sender, _waiting: &Waiting) {
        match *self {}
    }
}
