//! Stands in for traces in a build without the feature `otel`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::io;
use std::sync::Arc;

use clarim_cluster::NodeId;

use super::StartError;
use crate::config::ServerConfig;
use crate::observability::TraceNumbers;
use crate::runtime::Tracer;
use crate::sync::ShutdownSignal;

#[derive(Debug, Clone)]
pub(crate) struct TraceHandle;

#[derive(Debug)]
pub(crate) enum TraceThread {}

impl TraceHandle {
    pub(crate) fn new(
        _config: &ServerConfig,
        _node: Option<NodeId>,
    ) -> Result<(Self, Option<TraceThread>), StartError> {
        Ok((Self, None))
    }

    pub(crate) fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        None
    }

    pub(crate) fn numbers(&self) -> Option<TraceNumbers> {
        None
    }
}

impl TraceThread {
    pub(crate) async fn run(self, _shutdown: ShutdownSignal) -> io::Result<()> {
        match self {}
    }
}
