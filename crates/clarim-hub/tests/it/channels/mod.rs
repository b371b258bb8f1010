//! Features of channels, as transcripts.

mod cache;
mod compression;
mod counts;
mod order;
mod presence;
mod subscribing;
