use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn machine() -> Machine {
    Machine::new(Timing::default(), 7)
}

/// A machine that is connected at second 0.
fn connected() -> Machine {
    let mut machine = machine();
    machine.take(Input::Connect, Duration::ZERO);
    machine.take(Input::Established { activity: 30 * SECOND }, Duration::ZERO);
    machine
}

fn closed(code: u16) -> Input {
    Input::Closed { code: Some(code) }
}

#[test]
fn the_greeting_connects_and_subscribes_to_wanted_channels() {
    let mut machine = machine();
    assert_eq!(machine.take(Input::Want("news".to_owned()), Duration::ZERO), []);
    let effects = machine.take(Input::Connect, Duration::ZERO);
    assert_eq!(effects, [Effect::Changed(State::Connecting), Effect::Dial]);
    let effects = machine.take(Input::Established { activity: 30 * SECOND }, SECOND);
    let subscribe = Effect::Subscribe("news".to_owned());
    assert_eq!(effects, [Effect::Changed(State::Connected), subscribe]);
    assert_eq!(machine.take(Input::Want("news".to_owned()), SECOND), []);
    let unsubscribe = [Effect::Unsubscribe("news".to_owned())];
    assert_eq!(machine.take(Input::Unwant("news".to_owned()), SECOND), unsubscribe);
}

#[test]
fn close_codes_have_the_effect_of_their_class() {
    let now = 60 * SECOND;
    let mut refused = connected();
    assert_eq!(refused.take(closed(4009), now), [Effect::Changed(State::Failed)]);
    assert_eq!(refused.deadline(), None);
    let mut full = connected();
    assert_eq!(full.take(closed(4100), now), [Effect::Changed(State::Connecting)]);
    let due = full.deadline().unwrap();
    assert!(due >= now + SECOND / 2 && due <= now + SECOND, "{due:?}");
    let mut restarting = connected();
    let effects = restarting.take(closed(4200), now);
    assert_eq!(effects, [Effect::Changed(State::Connecting), Effect::Dial]);
    // If the connection is closed again at once, the second reconnection is not immediate.
    restarting.take(Input::Established { activity: 30 * SECOND }, now);
    assert!(!restarting.take(closed(4200), now).contains(&Effect::Dial));
}

#[test]
fn delays_double_up_to_the_longest_with_jitter() {
    let mut delays = Vec::new();
    for seed in 0..50 {
        let mut machine = Machine::new(Timing::default(), seed);
        machine.take(Input::Connect, Duration::ZERO);
        let mut now = Duration::ZERO;
        for expected in [1, 2, 4, 8, 16, 30, 30, 30].map(Duration::from_secs) {
            machine.take(Input::Closed { code: None }, now);
            let due = loop {
                let due = machine.deadline().unwrap();
                if machine.take(Input::DeadlinePassed, due).contains(&Effect::Dial) {
                    break due;
                }
            };
            let delay = due - now;
            assert!(delay >= expected / 2 && delay <= expected, "{delay:?} is not {expected:?}");
            delays.push(delay);
            now = due;
        }
    }
    delays.sort();
    delays.dedup();
    assert!(delays.len() > 300, "delays differ by chance");
}

#[test]
fn a_stable_connection_resets_the_delays() {
    let mut machine = connected();
    let mut now = 60 * SECOND;
    for _ in 0..3 {
        machine.take(Input::Closed { code: None }, now);
        assert!(machine.deadline().unwrap() <= now + SECOND);
        while !machine.take(Input::DeadlinePassed, now).contains(&Effect::Dial) {
            now = machine.deadline().unwrap();
        }
        machine.take(Input::Established { activity: 30 * SECOND }, now);
        now += SECOND;
    }
}

#[test]
fn silence_leads_to_a_ping_and_then_ends_the_connection() {
    let mut machine = connected();
    assert_eq!(machine.deadline(), Some(30 * SECOND));
    assert_eq!(machine.take(Input::DeadlinePassed, 29 * SECOND), []);
    assert_eq!(machine.take(Input::DeadlinePassed, 30 * SECOND), [Effect::Ping]);
    machine.take(Input::Received, 31 * SECOND);
    assert_eq!(machine.take(Input::DeadlinePassed, 61 * SECOND), [Effect::Ping]);
    assert_eq!(machine.deadline(), Some(91 * SECOND));
    let effects = machine.take(Input::DeadlinePassed, 91 * SECOND);
    assert_eq!(effects, [Effect::HangUp, Effect::Changed(State::Connecting)]);
}

#[test]
fn after_ten_seconds_without_a_connection_it_is_unavailable_and_attempts_go_on() {
    let mut machine = connected();
    machine.take(Input::Closed { code: None }, 60 * SECOND);
    let mut unavailable_at = None;
    while unavailable_at.is_none() {
        let now = machine.deadline().unwrap();
        let effects = machine.take(Input::DeadlinePassed, now);
        if effects.contains(&Effect::Dial) {
            machine.take(Input::Closed { code: None }, now);
        }
        unavailable_at = effects.contains(&Effect::Changed(State::Unavailable)).then_some(now);
    }
    assert_eq!(unavailable_at, Some(70 * SECOND));
    while !machine.take(Input::DeadlinePassed, machine.deadline().unwrap()).contains(&Effect::Dial)
    {
    }
    let effects = machine.take(Input::Established { activity: SECOND }, 90 * SECOND);
    assert_eq!(effects, [Effect::Changed(State::Connected)]);
}

/// Any input of a network, a server and an application.
fn input() -> impl Strategy<Value = Input> {
    let channel = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())];
    prop_oneof![
        2 => Just(Input::Connect),
        1 => Just(Input::Disconnect),
        4 => (1..200u64).prop_map(|s| Input::Established { activity: Duration::from_secs(s) }),
        4 => Just(Input::Received),
        6 => proptest::option::of(prop_oneof![3990..4310u16, 1000..1015u16])
            .prop_map(|code| Input::Closed { code }),
        12 => Just(Input::DeadlinePassed),
        4 => channel.clone().prop_map(Input::Want),
        4 => channel.prop_map(Input::Unwant),
    ]
}

proptest! {
    #[test]
    fn there_is_one_attempt_at_a_time_and_subscriptions_are_the_wanted_channels(
        inputs in proptest::collection::vec((input(), 0..20_000u64), 1..200),
    ) {
        let mut machine = machine();
        let mut now = Duration::ZERO;
        // Whether there is a socket, or an attempt at one, and its subscriptions.
        let mut open = false;
        let mut subscribed = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        let mut state = State::Initialized;
        for (input, millis) in inputs {
            now += Duration::from_millis(millis);
            // Without a socket, it has no inputs.
            let of_socket = matches!(
                input,
                Input::Established { .. } | Input::Received | Input::Closed { .. }
            );
            if of_socket && !open {
                continue;
            }
            match &input {
                Input::Closed { .. } => {
                    open = false;
                    subscribed.clear();
                }
                Input::Want(channel) => drop(wanted.insert(channel.clone())),
                Input::Unwant(channel) => drop(wanted.remove(channel)),
                _ => {}
            }
            let was = state;
            let given = input.clone();
            for effect in machine.take(input, now) {
                match effect {
                    Effect::Dial => {
                        prop_assert!(!open, "two attempts at once");
                        open = true;
                    }
                    Effect::HangUp => {
                        prop_assert!(open);
                        open = false;
                        subscribed.clear();
                    }
                    Effect::Ping => prop_assert!(open),
                    Effect::Subscribe(channel) => prop_assert!(subscribed.insert(channel)),
                    Effect::Unsubscribe(channel) => prop_assert!(subscribed.remove(&channel)),
                    Effect::Changed(to) => state = to,
                }
            }
            if matches!(was, State::Failed | State::Disconnected) {
                prop_assert!(state == was || given == Input::Connect || given == Input::Disconnect);
            }
            if state == State::Connected {
                prop_assert_eq!(&subscribed, &wanted);
            }
            let is_over = matches!(state, State::Initialized | State::Failed | State::Disconnected);
            prop_assert_eq!(machine.deadline().is_none(), is_over);
            if let Some(due) = machine.deadline() {
                prop_assert!(due <= now + Duration::from_secs(200), "the deadline is too late");
            }
        }
    }
}
