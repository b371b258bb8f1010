//! The load generator must notice what a bad server does.
