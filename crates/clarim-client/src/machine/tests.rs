use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn machine() -> Machine {
    Machine::new(Timing::default())
}

/// One that is connected at second 0.
fn connected() -> Machine {
    let mut machine = machine();
    machine.take(Input::Connect, Duration::ZERO, 0.5);
    machine.take(Input::Established { activity: 30 * SECOND }, Duration::ZERO, 0.5);
    machine
}

fn closed(code: u16) -> Input {
    Input::Closed { code: Some(code) }
}

#[test]
fn a_greeting_makes_it_connected_and_subscribes_what_is_wanted() {
    let mut machine = machine();
    assert_eq!(machine.take(Input::Want("news".to_owned()), Duration::ZERO, 0.5), []);
    let effects = machine.take(Input::Connect, Duration::ZERO, 0.5);
    assert_eq!(effects, [Effect::Changed(State::Connecting), Effect::Dial]);
    let effects = machine.take(Input::Established { activity: 30 * SECOND }, SECOND, 0.5);
    let subscribe = Effect::Subscribe("news".to_owned());
    assert_eq!(effects, [Effect::Changed(State::Connected), subscribe]);
    assert_eq!(machine.take(Input::Want("news".to_owned()), SECOND, 0.5), []);
    let unsubscribe = [Effect::Unsubscribe("news".to_owned())];
    assert_eq!(machine.take(Input::Unwant("news".to_owned()), SECOND, 0.5), unsubscribe);
}

#[test]
fn the_classes_of_close_codes_are_obeyed() {
    let now = 60 * SECOND;
    let mut refused = connected();
    assert_eq!(refused.take(closed(4009), now, 0.5), [Effect::Changed(State::Failed)]);
    assert_eq!(refused.deadline(), None);
    let mut full = connected();
    assert_eq!(full.take(closed(4100), now, 1.0), [Effect::Changed(State::Connecting)]);
    assert_eq!(full.deadline(), Some(now + SECOND));
    let mut restarting = connected();
    let effects = restarting.take(closed(4200), now, 0.5);
    assert_eq!(effects, [Effect::Changed(State::Connecting), Effect::Dial]);
    // It greets, and sends away again: not at once a second time.
    restarting.take(Input::Established { activity: 30 * SECOND }, now, 0.5);
    assert!(!restarting.take(closed(4200), now, 0.5).contains(&Effect::Dial));
}

#[test]
fn pauses_double_up_to_the_longest_and_differ_by_chance() {
    let mut machine = connected();
    let mut now = 60 * SECOND;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        machine.take(Input::Closed { code: None }, now, 1.0);
        let due = (0..).find_map(|_| {
            let due = machine.deadline()?;
            let effects = machine.take(Input::Late, due, 1.0);
            effects.contains(&Effect::Dial).then_some(due)
        });
        pauses.push((due.unwrap() - now).as_secs());
        now = due.unwrap();
    }
    assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 30, 30]);
    let mut lucky = connected();
    lucky.take(Input::Closed { code: None }, now, 0.0);
    assert_eq!(lucky.deadline(), Some(now + SECOND / 2));
}

#[test]
fn silence_is_asked_about_and_then_ends_the_connection() {
    let mut machine = connected();
    assert_eq!(machine.deadline(), Some(30 * SECOND));
    assert_eq!(machine.take(Input::Late, 29 * SECOND, 0.5), []);
    assert_eq!(machine.take(Input::Late, 30 * SECOND, 0.5), [Effect::Ping]);
    machine.take(Input::Heard, 31 * SECOND, 0.5);
    assert_eq!(machine.take(Input::Late, 61 * SECOND, 0.5), [Effect::Ping]);
    assert_eq!(machine.deadline(), Some(91 * SECOND));
    let effects = machine.take(Input::Late, 91 * SECOND, 0.5);
    assert_eq!(effects, [Effect::HangUp, Effect::Changed(State::Connecting)]);
}

#[test]
fn ten_seconds_without_a_connection_are_told_and_it_goes_on() {
    let mut machine = connected();
    machine.take(Input::Closed { code: None }, 60 * SECOND, 0.5);
    let mut told = None;
    while told.is_none() {
        let now = machine.deadline().unwrap();
        let effects = machine.take(Input::Late, now, 0.5);
        if effects.contains(&Effect::Dial) {
            machine.take(Input::Closed { code: None }, now, 0.5);
        }
        told = effects.contains(&Effect::Changed(State::Unavailable)).then_some(now);
    }
    assert_eq!(told, Some(70 * SECOND));
    while !machine.take(Input::Late, machine.deadline().unwrap(), 0.5).contains(&Effect::Dial) {}
    let effects = machine.take(Input::Established { activity: SECOND }, 90 * SECOND, 0.5);
    assert_eq!(effects, [Effect::Changed(State::Connected)]);
}

/// What a network, a server and a user may do.
fn input() -> impl Strategy<Value = Input> {
    let channel = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())];
    prop_oneof![
        2 => Just(Input::Connect),
        1 => Just(Input::Disconnect),
        4 => (1..200u64).prop_map(|s| Input::Established { activity: Duration::from_secs(s) }),
        4 => Just(Input::Heard),
        6 => proptest::option::of(prop_oneof![3990..4310u16, 1000..1015u16])
            .prop_map(|code| Input::Closed { code }),
        12 => Just(Input::Late),
        4 => channel.clone().prop_map(Input::Want),
        4 => channel.prop_map(Input::Unwant),
    ]
}

proptest! {
    #[test]
    fn there_is_one_attempt_at_a_time_and_exactly_what_is_wanted_is_subscribed(
        inputs in proptest::collection::vec((input(), 0..20_000u64, 0.0..1.0), 1..200),
    ) {
        let mut machine = machine();
        let mut now = Duration::ZERO;
        // Whether there is a socket, or an attempt at one; and what is subscribed on it.
        let (mut open, mut subscribed, mut wanted) = (false, BTreeSet::new(), BTreeSet::new());
        let mut state = State::Initialized;
        for (input, millis, dice) in inputs {
            now += Duration::from_millis(millis);
            // A socket that is not there says nothing.
            let of_socket = matches!(input, Input::Established { .. } | Input::Heard | Input::Closed { .. });
            if of_socket && !open {
                continue;
            }
            match &input {
                Input::Closed { .. } => (open, subscribed) = (false, BTreeSet::new()),
                Input::Want(channel) => drop(wanted.insert(channel.clone())),
                Input::Unwant(channel) => drop(wanted.remove(channel)),
                _ => {}
            }
            let was = state;
            let given = input.clone();
            for effect in machine.take(input, now, dice) {
                match effect {
                    Effect::Dial => {
                        prop_assert!(!open, "two attempts at once");
                        open = true;
                    }
                    Effect::HangUp => {
                        prop_assert!(open);
                        (open, subscribed) = (false, BTreeSet::new());
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
                prop_assert!(due <= now + Duration::from_secs(200), "it waits too long");
            }
        }
    }
}
