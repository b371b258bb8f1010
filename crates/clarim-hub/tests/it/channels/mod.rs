//! Features of channels, as transcripts.

mod cache;
mod compression;
mod counts;
mod history;
mod order;
mod presence;
mod subscribing;
