//! Traces, in a build with the feature `otel`.

use std::io;
use std::sync::Arc;

use clarim_cluster::NodeId;

use super::StartError;
use crate::config::ServerConfig;
use crate::observability::TraceNumbers;
use crate::observability::traces::{self, Export, TraceCounters, Traces};
use crate::runtime::Tracer;
use crate::sync::ShutdownSignal;

/// The traces of a server, if there is a collector. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct TraceHandle(Option<Collecting>);

#[derive(Debug, Clone)]
struct Collecting {
    traces: Arc<Traces>,
    counters: Arc<TraceCounters>,
}

/// The work of the thread that exports traces.
#[derive(Debug)]
pub(crate) struct TraceThread(Export);

impl TraceHandle {
    pub(crate) fn new(
        config: &ServerConfig,
        node: Option<NodeId>,
    ) -> Result<(Self, Option<TraceThread>), StartError> {
        let Some(url) = &config.traces else { return Ok((Self(None), None)) };
        let (traces, export) =
            traces::start(url, node).map_err(|source| StartError::Traces { source })?;
        let collecting = Collecting { traces: Arc::new(traces), counters: export.counters() };
        Ok((Self(Some(collecting)), Some(TraceThread(export))))
    }

    pub(crate) fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        Some(self.0.as_ref()?.traces.clone())
    }

    pub(crate) fn numbers(&self) -> Option<TraceNumbers> {
        Some(self.0.as_ref()?.counters.numbers())
    }
}

impl TraceThread {
    pub(crate) async fn run(self, shutdown: ShutdownSignal) -> io::Result<()> {
        self.0.run(shutdown).await
    }
}
