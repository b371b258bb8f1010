use clarim::Broadcast;
use serde::Serialize;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", nam = "order.shipped")]
struct OrderShipped;

fn main() {}
