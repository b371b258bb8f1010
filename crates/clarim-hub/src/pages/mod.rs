//! Pages: what clients that name a page id have acknowledged, so that they get what they missed.
//!
//! A page outlives its connections. It holds the last position that the page has acknowledged on each
//! channel with history, and its socket id. The worker of its live connection updates it; the next
//! connection of the page, on any worker, goes on from there. A page id is not a credential: a position is of
//! use only once a subscription is authorized.

mod live;
mod page;
mod positions;
mod registry;
mod twins;

pub(crate) use page::{Newcomer, Page, PageSince};
pub(crate) use positions::{Acknowledged, Positions};
pub(crate) use registry::Pages;
