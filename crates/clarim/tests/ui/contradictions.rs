use clarim::Broadcast;
use serde::Serialize;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", now, queue = "high")]
struct Queue;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", name = "a", name = "b")]
struct Twice;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", unique_by = "a")]
struct Unique;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", backoff = ["1"])]
struct Backoff;

fn main() {}
