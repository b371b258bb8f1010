//! A client of the simulation, and whether it leaves.

use anyhow::Result;

use crate::simulation::account::Stream;
use crate::simulation::client::Client;
use crate::wire::deliveries::Verdict;

/// A client's place in the loop.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: usize,
    pub(super) client: Client,
    /// For a client that leaves: how many events of its streams it must receive first.
    pub(super) leaving: Option<Vec<(Stream, u64)>>,
    pub(super) gone: bool,
}

impl Slot {
    /// Closes the connection if the client leaves and has received everything.
    pub(super) fn go_if_ready(&mut self) -> Result<()> {
        let accounts = &self.client.accounts;
        let has = |(stream, due): &(Stream, u64)| {
            accounts.get(stream).is_none_or(|account| account.has_reached(*due))
        };
        if !self.gone && self.leaving.as_ref().is_some_and(|all| all.iter().all(has)) {
            self.gone = true;
            self.client.close()?;
        }
        Ok(())
    }

    pub(super) fn verdict(&self, streams: &[(u64, u64)]) -> Verdict {
        let mut verdict = Verdict::default();
        if self.client.stalled {
            return verdict;
        }
        for (stream, account) in &self.client.accounts {
            let published = streams[*stream as usize].0;
            let mut recorded = self.leaving.iter().flatten().filter(|(s, _)| s == stream);
            let due = recorded.next().map_or(published, |(_, due)| *due);
            verdict.add(account.verdict(due, published));
        }
        verdict
    }

    pub(super) fn repeated_members(&self) -> u64 {
        self.client.channels.iter().map(|channel| channel.members.repeated_members).sum()
    }
}
