use clarim::Broadcast;
use clarim::types::{TS, Types};
use serde::Serialize;

#[derive(Serialize, TS, Broadcast)]
#[broadcast(channel = "orders", with = "payload")]
struct OrderShipped {
    order: u64,
}

impl OrderShipped {
    fn payload(&self) -> u64 {
        self.order
    }
}

fn main() {
    let _ = Types::new().event::<OrderShipped>();
}
