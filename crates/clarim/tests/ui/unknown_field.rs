use clarim::Broadcast;
use serde::Serialize;

#[derive(Serialize, Broadcast)]
#[broadcast(private = "orders.{oder}")]
struct OrderShipped {
    order: u64,
    user: u64,
}

fn main() {}
