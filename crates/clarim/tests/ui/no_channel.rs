use clarim::Broadcast;
use serde::Serialize;

#[derive(Serialize, Broadcast)]
struct OrderShipped {
    order: u64,
}

fn main() {}
