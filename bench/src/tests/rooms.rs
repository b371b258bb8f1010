//! The loads with sessions must notice what a bad server does.

use anyhow::Result;

use super::bad_rooms::{Wrong, start};
use crate::loads::channels::Channels;
use crate::loads::chat::Chat;
use crate::loads::presence::Presence;
use crate::loads::slow::{Slow, fates};
use crate::loads::tail::Tail;
use crate::loads::whispers::Whispers;
use crate::simulation::engine::Simulation;
use crate::simulation::rooms::Rooms;
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::CHANNEL;

const CLEAN: Verdict = Verdict { lost: 0, doubled: 0, disordered: 0, foreign: 0 };

fn whispers(wrong: Wrong) -> (Verdict, Simulation) {
    let load = Whispers { clients: 5, rate: 10.0, size: 128, seconds: 1 };
    let (mut simulation, clients) = load.connect(&start(wrong)).unwrap();
    load.talk(&mut simulation, &clients).unwrap();
    (simulation.verdict().unwrap(), simulation)
}

#[test]
fn whispers_reach_all_but_their_sender() {
    let (verdict, simulation) = whispers(Wrong::Nothing);
    assert_eq!((verdict, simulation.counts.delivered), (CLEAN, 50 * 4));
}

#[test]
fn what_is_wrong_with_whispers_is_noticed() {
    assert_eq!(whispers(Wrong::Lose).0, Verdict { lost: 1, ..CLEAN });
    assert_eq!(whispers(Wrong::Double).0, Verdict { doubled: 1, ..CLEAN });
    // They forget the first for each of five: but for its sender, all of the first whisper.
    assert_eq!(whispers(Wrong::Gap).0.lost, 5);
    let (verdict, simulation) = whispers(Wrong::Delay);
    assert_eq!(verdict, CLEAN);
    let median = simulation.latency.value_at_quantile(0.5);
    assert!(median >= 5_000, "{median} µs");
}

fn channels(wrong: Wrong, closed: bool) -> Result<(Verdict, Simulation)> {
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
    let (mut simulation, clients) = load.connect(&start(wrong))?;
    load.subscribe(&mut simulation, &clients)?;
    simulation.restart();
    if closed { load.closed(&mut simulation) } else { load.open(&mut simulation) }?;
    Ok((simulation.verdict()?, simulation))
}

#[test]
fn an_event_of_a_small_channel_reaches_one() {
    for closed in [true, false] {
        let (verdict, simulation) = channels(Wrong::Nothing, closed).unwrap();
        assert_eq!((verdict.lost, verdict.doubled, verdict.foreign), (0, 0, 0));
        assert_eq!(simulation.counts.delivered, 200);
    }
}

#[test]
fn what_is_wrong_with_small_channels_is_noticed() {
    assert_eq!(channels(Wrong::Lose, false).unwrap().0, Verdict { lost: 1, ..CLEAN });
    assert_eq!(channels(Wrong::Misdirect, false).unwrap().0, Verdict { foreign: 1, ..CLEAN });
    let error = channels(Wrong::Lose, true).err().unwrap().to_string();
    assert!(error.starts_with("not a result: nothing more has come"), "{error}");
}

fn storm(wrong: Wrong) -> Result<Simulation> {
    let load = Presence { connections: 20, at_once: 5 };
    let (mut simulation, clients) = load.connect(&start(wrong))?;
    load.join(&mut simulation, &clients)?;
    simulation.drop_all();
    load.come_back(&mut simulation)?;
    Ok(simulation)
}

#[test]
fn after_a_storm_all_know_all() {
    let simulation = storm(Wrong::Nothing).unwrap();
    assert_eq!(simulation.counts.joined, 40);
}

#[test]
fn wrong_member_lists_are_noticed() {
    for wrong in [Wrong::ShortList, Wrong::NoAdded] {
        let error = storm(wrong).err().unwrap().to_string();
        assert!(error.ends_with("member lists are wrong"), "{wrong:?}: {error}");
    }
}

fn chat(wrong: Wrong) -> Result<(Verdict, Simulation)> {
    let (rooms, members, size) = (3, 5, 128);
    let load =
        Chat { rooms, members, messages: 60.0, whispers: 60.0, changes: 30.0, size, seconds: 1 };
    let (mut simulation, mut rooms) = load.connect(&start(wrong))?;
    load.go_on(&mut simulation, &mut rooms)?;
    Ok((simulation.verdict()?, simulation))
}

#[test]
fn a_chat_adds_up_though_people_come_and_go() {
    let (verdict, simulation) = chat(Wrong::Nothing).unwrap();
    assert_eq!((verdict, simulation.repeated_members()), (CLEAN, 0));
    assert!(
        simulation.counts.joined > 2 * 15 + 20 && simulation.counts.sent == 120,
        "{:?}",
        simulation.counts
    );
}

#[test]
fn what_is_wrong_with_a_chat_is_noticed() {
    assert_eq!(chat(Wrong::Lose).unwrap().0, Verdict { lost: 1, ..CLEAN });
    let past = chat(Wrong::Past).unwrap().0;
    assert!(past.foreign > 0, "{past}");
    let gap = chat(Wrong::Gap).unwrap().0;
    assert!(gap.lost > 0, "{gap}");
    let (verdict, simulation) = chat(Wrong::RemovedTwice).unwrap();
    assert!(verdict == CLEAN && simulation.repeated_members() > 0);
}

/// One who left and whose seat stays empty: the others must know.
#[test]
fn a_ghost_is_noticed() {
    let target = start(Wrong::NoRemoved);
    let mut rooms = Rooms::new(1, 20, false);
    let mut simulation = Simulation::new(&target, 0, 0, 128).unwrap();
    rooms.fill(&mut simulation).unwrap();
    for n in 0..22 {
        rooms.change(&mut simulation, n).unwrap();
        simulation.settle().unwrap();
    }
    rooms.settle(&mut simulation).unwrap();
    assert!(simulation.repeated_members() > 0, "the ghost came back, and was announced again");
}

fn slow(size: usize) -> Result<(Verdict, f64)> {
    let load = Slow { subscribers: 20, percent: 10.0, size, rate: 50, seconds: 2 };
    let (mut simulation, slow) = load.connect(&start(Wrong::Nothing))?;
    load.publish(&mut simulation, || Ok(()))?;
    let verdict = simulation.verdict()?;
    Ok((verdict, fates(&mut simulation, &slow)?["still open"]))
}

#[test]
fn those_who_do_not_read_are_told_from_the_others() {
    assert_eq!(slow(128).unwrap(), (CLEAN, 2.0));
}

/// Twelve megabytes to each: more than the kernel takes for those who do not read.
#[test]
fn a_server_that_waits_for_slow_readers_is_noticed() {
    let error = slow(120_000).err().unwrap().to_string();
    assert!(error.contains("requests were answered"), "{error}");
}

#[test]
fn a_refused_batch_is_no_result() {
    let batches = |wrong| {
        let mut simulation = Simulation::new(&start(wrong), 1, 1, 128).unwrap();
        for n in 0..20 {
            simulation.publish_batch(CHANNEL, 10)?;
            simulation.until(|c| c.answered > n)?;
        }
        anyhow::Ok(simulation.counts.sent)
    };
    assert_eq!(batches(Wrong::Nothing).unwrap(), 200);
    assert!(batches(Wrong::Refuse).is_err());
}

#[test]
fn a_disturbed_tail_adds_up_and_what_is_wrong_in_it_is_noticed() {
    let tail = |wrong| {
        let target = start(wrong);
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
    assert_eq!(tail(Wrong::Nothing), CLEAN);
    assert_eq!(tail(Wrong::Lose), Verdict { lost: 1, ..CLEAN });
    assert_eq!(tail(Wrong::Swap), Verdict { disordered: 1, ..CLEAN });
}
