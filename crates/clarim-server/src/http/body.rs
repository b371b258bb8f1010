//! Reading of request bodies, and the memory that those of unknown senders may occupy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;

use super::RequestBody;
use super::response::ApiError;

/// Maximum size of all bodies in memory whose senders are unknown, and of those of one address.
const MAX_UNKNOWN: usize = 64 << 20;
const MAX_UNKNOWN_PER_ADDRESS: usize = 8 << 20;

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) max: usize,
    pub(crate) timeout: Duration,
}

impl BodyLimits {
    /// Reads a body of a sender that is known.
    pub(crate) async fn read(self, body: impl RequestBody) -> Result<Bytes, ApiError> {
        self.read_as(body, |_| Ok(())).await
    }

    /// Reads a body of an unknown sender within the `budget`.
    pub(crate) async fn read_unknown(
        self,
        body: impl RequestBody,
        budget: &Arc<BodyBudget>,
        address: Option<IpAddr>,
    ) -> Result<UnknownBody, ApiError> {
        let mut share = BudgetShare { budget: budget.clone(), address, bytes: 0 };
        let bytes = self.read_as(body, |bytes| share.take(bytes)).await?;
        Ok(UnknownBody { bytes, share })
    }

    /// Reads a body and drops it, so that the client can send all of it and then read the response.
    pub(crate) async fn discard(self, body: impl RequestBody) -> Result<(), ApiError> {
        self.each_piece(body, |_| Ok(())).await
    }

    /// Reads a body. `take` is called with the size of each piece before it is kept.
    async fn read_as(
        self,
        body: impl RequestBody,
        mut take: impl FnMut(usize) -> Result<(), ApiError>,
    ) -> Result<Bytes, ApiError> {
        let mut all = Vec::new();
        let keep = |piece: &[u8]| {
            take(piece.len())?;
            all.extend_from_slice(piece);
            Ok(())
        };
        self.each_piece(body, keep).await?;
        Ok(all.into())
    }

    async fn each_piece(
        self,
        body: impl RequestBody,
        mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        // Checked before the body is read, if the client announces its size.
        let announced = body.size_hint().exact();
        if announced.is_some_and(|size| size > self.max as u64) {
            return Err(self.too_large(announced));
        }
        let mut body = std::pin::pin!(Limited::new(body, self.max));
        let all = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        return self.too_large(None);
                    }
                    ApiError::malformed(format!("The request body ended early: {error}."))
                })?;
                if let Ok(piece) = frame.into_data() {
                    take(&piece)?;
                }
            }
            Ok(())
        };
        let timeout = self.timeout;
        tokio::time::timeout(timeout, all).await.unwrap_or_else(|_| {
            let message = format!("The request body did not arrive within {timeout:?}.");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        })
    }

    fn too_large(self, size: Option<u64>) -> ApiError {
        let size = size.map_or_else(String::new, |size| format!(" of {size} bytes"));
        let max = self.max;
        ApiError::too_large(format!(
            "Payload too large: the request body{size} exceeds the maximum of {max} bytes (MAX_REQUEST_SIZE)."
        ))
    }
}

/// A body of an unknown sender, with its share of the budget.
#[derive(Debug)]
pub(crate) struct UnknownBody {
    bytes: Bytes,
    share: BudgetShare,
}

impl UnknownBody {
    /// Drops the bytes, and returns the share for what was made of them.
    pub(crate) fn into_share(self) -> BudgetShare {
        self.share
    }
}

impl std::ops::Deref for UnknownBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bodies of unknown senders in memory.
#[derive(Debug, Default)]
pub(crate) struct BodyBudget {
    used: AtomicUsize,
    /// Held while one number is read and changed.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The bytes of one body, given back when dropped.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: Arc<BodyBudget>,
    address: Option<IpAddr>,
    bytes: usize,
}

impl BudgetShare {
    fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        let budget = &self.budget;
        let used = budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        let of_address = self.address.map_or(0, |address| {
            let mut all = budget.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let used = all.entry(address).or_default();
            *used += bytes;
            *used
        });
        if used > MAX_UNKNOWN || of_address > MAX_UNKNOWN_PER_ADDRESS {
            return Err(ApiError::busy("Too many request bodies are on their way."));
        }
        Ok(())
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        let Some(address) = self.address.filter(|_| self.bytes > 0) else { return };
        let mut all = self.budget.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = all.get_mut(&address) {
            *used -= self.bytes;
            if *used == 0 {
                all.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_one_address_leave_room_for_others() {
        let budget = Arc::<BodyBudget>::default();
        let share = |last: u8| BudgetShare {
            budget: budget.clone(),
            address: Some(IpAddr::from([192, 0, 2, last])),
            bytes: 0,
        };
        let mut greedy = share(1);
        greedy.take(MAX_UNKNOWN_PER_ADDRESS).unwrap();
        assert!(share(1).take(1).is_err());
        share(2).take(1).unwrap();
        let all: Vec<_> = (2..10)
            .map(|last| {
                let mut share = share(last);
                (share.take(MAX_UNKNOWN_PER_ADDRESS).is_ok(), share)
            })
            .collect();
        assert_eq!(all.iter().filter(|(is_taken, _)| *is_taken).count(), 7);
        drop((all, greedy));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert!(budget.by_address.lock().unwrap().is_empty());
    }
}
