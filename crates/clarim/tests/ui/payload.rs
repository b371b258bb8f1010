use clarim::Broadcast;
use serde::Serialize;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", payload = "String")]
struct WithoutWith;

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", with = "payload", payload = "String")]
struct NotThat {
    order: u64,
}

impl NotThat {
    fn payload(&self) -> u64 {
        self.order
    }
}

fn main() {}
