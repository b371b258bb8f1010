use clarim::Broadcast;
use serde::Serialize;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders:{order}")]
struct Colon {
    order: u64,
}

#[derive(Serialize, Broadcast)]
#[broadcast(private = "private-orders")]
struct Prefix;

#[derive(Serialize, Broadcast)]
#[broadcast(private = "orders.{order")]
struct Brace {
    order: u64,
}

#[derive(Serialize, Broadcast)]
#[broadcast(private = "orders.{order}")]
enum Fields {
    Shipped { order: u64 },
}

fn main() {}
