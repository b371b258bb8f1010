//! Loads with simulated clients.

use anyhow::Result;

use super::bad_rooms::{Fault, start};
use crate::loads::channels::Channels;
use crate::loads::chat::Chat;
use crate::loads::disturbed::slow::{Slow, fates};
use crate::loads::disturbed::tail::Tail;
use crate::loads::presence::Presence;
use crate::loads::whispers::Whispers;
use crate::simulation::engine::Simulation;
use crate::simulation::rooms::Rooms;
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::CHANNEL;

const CLEAN: Verdict = Verdict { lost: 0, doubled: 0, disordered: 0, foreign: 0 };

fn whispers(fault: Fault) -> (Verdict, Simulation) {
    let load = Whispers { clients: 5, rate: 10.0, size: 128, seconds: 1 };
    let (mut simulation, clients) = load.connect(&start(fault)).unwrap();
    load.talk(&mut simulation, &clients).unwrap();
    (simulation.verdict().unwrap(), simulation)
}

#[test]
fn whispers_reach_all_but_their_sender() {
    let (verdict, simulation) = whispers(Fault::None);
    assert_eq!((verdict, simulation.counts.delivered), (CLEAN, 50 * 4));
}

#[test]
fn faults_of_client_events_are_detected() {
    assert_eq!(whispers(Fault::Lose).0, Verdict { lost: 1, ..CLEAN });
    assert_eq!(whispers(Fault::Double).0, Verdict { doubled: 1, ..CLEAN });
    // Each of the five clients misses its first event.
    assert_eq!(whispers(Fault::Gap).0.lost, 5);
    let (verdict, simulation) = whispers(Fault::Delay);
    assert_eq!(verdict, CLEAN);
    let median = simulation.latency.value_at_quantile(0.5);
    assert!(median >= 5_000, "{median} µs");
}

fn channels(fault: Fault, closed: bool) -> Result<(Verdict, Simulation)> {
    let load = Channels {
        channels: 50,
        connections: 5,
        size: 128,
        rate: 200,
        seconds: 1,
        closed,
        in_flight: 4,
        events: 200,
    };
    let (mut simulation, clients) = load.connect(&start(fault))?;
    load.subscribe(&mut simulation, &clients)?;
    simulation.restart();
    if closed { load.closed(&mut simulation) } else { load.open(&mut simulation) }?;
    Ok((simulation.verdict()?, simulation))
}

#[test]
fn an_event_of_a_small_channel_reaches_its_only_subscriber() {
    for closed in [true, false] {
        let (verdict, simulation) = channels(Fault::None, closed).unwrap();
        assert_eq!((verdict.lost, verdict.doubled, verdict.foreign), (0, 0, 0));
        assert_eq!(simulation.counts.delivered, 200);
    }
}

#[test]
fn faults_of_small_channels_are_detected() {
    assert_eq!(channels(Fault::Lose, false).unwrap().0, Verdict { lost: 1, ..CLEAN });
    assert_eq!(channels(Fault::Misdirect, false).unwrap().0, Verdict { foreign: 1, ..CLEAN });
    let error = channels(Fault::Lose, true).err().unwrap().to_string();
    assert!(error.starts_with("invalid measurement: nothing more arrives"), "{error}");
}

fn storm(fault: Fault) -> Result<Simulation> {
    let load = Presence { connections: 20, at_once: 5 };
    let (mut simulation, clients) = load.connect(&start(fault))?;
    load.join(&mut simulation, &clients)?;
    simulation.drop_all();
    load.reconnect(&mut simulation)?;
    Ok(simulation)
}

#[test]
fn after_a_storm_all_member_lists_are_complete() {
    let simulation = storm(Fault::None).unwrap();
    assert_eq!(simulation.counts.joined, 40);
}

#[test]
fn wrong_member_lists_are_detected() {
    for fault in [Fault::ShortList, Fault::NoAdded] {
        let error = storm(fault).err().unwrap().to_string();
        assert!(error.ends_with("member lists are wrong"), "{fault:?}: {error}");
    }
}

/// Repeats a chat whose measurement is invalid: a starved client acts late, and then all at once.
fn chat(fault: Fault) -> Result<(Verdict, Simulation)> {
    let is_invalid = |error: &anyhow::Error| error.to_string().starts_with("invalid measurement");
    for _ in 0..5 {
        match chat_once(fault) {
            Err(error) if is_invalid(&error) => {}
            measured => return measured,
        }
    }
    chat_once(fault)
}

fn chat_once(fault: Fault) -> Result<(Verdict, Simulation)> {
    let rooms = 3;
    let members = 5;
    let size = 128;
    let load =
        Chat { rooms, members, messages: 60.0, whispers: 60.0, changes: 30.0, size, seconds: 1 };
    let (mut simulation, mut rooms) = load.connect(&start(fault))?;
    load.simulate(&mut simulation, &mut rooms)?;
    Ok((simulation.verdict()?, simulation))
}

#[test]
fn a_chat_is_correct_while_members_join_and_leave() {
    let (verdict, simulation) = chat(Fault::None).unwrap();
    assert_eq!((verdict, simulation.repeated_members()), (CLEAN, 0));
    assert!(
        simulation.counts.joined > 2 * 15 + 20 && simulation.counts.sent == 120,
        "{:?}",
        simulation.counts
    );
}

#[test]
fn faults_in_a_chat_are_detected() {
    assert_eq!(chat(Fault::Lose).unwrap().0, Verdict { lost: 1, ..CLEAN });
    let past = chat(Fault::Past).unwrap().0;
    assert!(past.foreign > 0, "{past}");
    let gap = chat(Fault::Gap).unwrap().0;
    assert!(gap.lost > 0, "{gap}");
    let (verdict, simulation) = chat(Fault::RemovedTwice).unwrap();
    assert!(simulation.repeated_members() > 0, "{verdict}");
}

/// A member whose leave is not announced shows when it joins again.
#[test]
fn a_ghost_member_is_detected() {
    let target = start(Fault::NoRemoved);
    let mut rooms = Rooms::new(1, 20, false);
    let mut simulation = Simulation::new(&target, 0, 0, 128).unwrap();
    rooms.fill(&mut simulation).unwrap();
    for n in 0..22 {
        rooms.change(&mut simulation, n).unwrap();
        simulation.settle().unwrap();
    }
    rooms.settle(&mut simulation).unwrap();
    assert!(simulation.repeated_members() > 0, "the ghost joined again, and was announced again");
}

fn slow(size: usize) -> Result<(Verdict, f64)> {
    let load = Slow { subscribers: 20, percent: 10.0, size, rate: 50, seconds: 2 };
    let (mut simulation, slow) = load.connect(&start(Fault::None))?;
    load.publish(&mut simulation, || Ok(()))?;
    let verdict = simulation.verdict()?;
    Ok((verdict, fates(&mut simulation, &slow)?["still open"]))
}

#[test]
fn slow_readers_are_not_checked_with_the_others() {
    assert_eq!(slow(128).unwrap(), (CLEAN, 2.0));
}

#[test]
fn slow_readers_that_read_again_are_checked() {
    let resumed = |fault| {
        let load = Slow { subscribers: 2, percent: 50.0, size: 128, rate: 50, seconds: 1 };
        let (mut simulation, slow) = load.connect(&start(fault)).unwrap();
        load.publish(&mut simulation, || Ok(())).unwrap();
        for client in &slow {
            simulation.resume(*client).unwrap();
        }
        assert!(simulation.settle().unwrap());
        assert_eq!(simulation.counts.delivered, 100 + u64::from(fault == Fault::Double));
        simulation.verdict().unwrap()
    };
    assert_eq!(resumed(Fault::None), CLEAN);
    assert_eq!(resumed(Fault::Double), Verdict { doubled: 1, ..CLEAN });
}

/// Twelve megabytes per client, more than the kernel buffers for a slow one.
#[test]
fn a_server_that_waits_for_slow_readers_is_detected() {
    let error = slow(120_000).err().unwrap().to_string();
    assert!(error.contains("requests got a response"), "{error}");
}

#[test]
fn a_refused_batch_is_an_error() {
    let batches = |fault| {
        let mut simulation = Simulation::new(&start(fault), 1, 1, 128).unwrap();
        for n in 0..20 {
            simulation.publish_batch(CHANNEL, 10)?;
            simulation.until(|c| c.answered > n)?;
        }
        anyhow::Ok(simulation.counts.sent)
    };
    assert_eq!(batches(Fault::None).unwrap(), 200);
    assert!(batches(Fault::Refuse).is_err());
}

#[test]
fn faults_under_disturbances_are_detected() {
    let tail = |fault| {
        let target = start(fault);
        let load = Tail {
            subscribers: 10,
            rate: 20,
            size: 128,
            seconds: 1,
            stalled: 10.0,
            connections: 20.0,
            members: 5,
            changes: 10.0,
        };
        let (mut simulation, slow) = load.connect(&target).unwrap();
        let mut rooms = Rooms::new(1, 5, false);
        rooms.fill(&mut simulation).unwrap();
        load.quiet(&mut simulation).unwrap();
        let quiet = simulation.verdict().unwrap();
        if !quiet.is_clean() {
            return quiet;
        }
        load.disturbed(&mut simulation, &slow, &mut rooms, &target).unwrap();
        simulation.verdict().unwrap()
    };
    assert_eq!(tail(Fault::None), CLEAN);
    assert_eq!(tail(Fault::Lose), Verdict { lost: 1, ..CLEAN });
    assert_eq!(tail(Fault::Swap), Verdict { disordered: 1, ..CLEAN });
}
