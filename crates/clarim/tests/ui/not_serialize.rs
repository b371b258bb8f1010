use clarim::Broadcast;

#[derive(Broadcast)]
#[broadcast(channel = "orders")]
struct OrderShipped;

fn main() {}
