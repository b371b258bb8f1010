//! The `clarim` server.
