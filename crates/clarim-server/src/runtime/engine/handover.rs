//! The engine's part of a hand-over: it stops, saves its connections, and goes on with restored ones.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use clarim_hub::snapshot::{SavedConnection, SavedWorker};
use clarim_hub::{ConnectionId, End};
use clarim_protocol::Frame;
use serde::{Deserialize, Serialize};

use super::{Engine, Protocol};
use crate::net::{DescriptorSender, Descriptors, Shared};
use crate::runtime::observer::Ended;
use crate::runtime::origins::OriginId;
use crate::runtime::sockets::saved::{self, RestoredSocket, SavedSocket};

/// A record of an engine. The frames and connections after a worker are those of this worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum EngineRecord {
    /// The common state of a worker's connections.
    Worker(SavedWorker),
    /// A frame that is in send queues.
    Frame(Bytes),
    /// A connection. The frames of its send queue come before it.
    Connection { hub: Box<SavedConnection>, socket: Box<SavedSocket> },
}

/// The way of an engine's records into a snapshot.
pub(crate) struct EngineSaver<'a> {
    pub(crate) write: &'a mut dyn FnMut(EngineRecord) -> io::Result<()>,
    pub(crate) descriptors: &'a mut DescriptorSender,
    pub(crate) origin: &'a dyn Fn(OriginId) -> Option<String>,
}

/// Disconnects the clients that cannot be handed over, with a code that makes them reconnect at once.
pub(crate) fn send_others_away<P: Protocol>(engine: &mut Engine<P>) {
    engine.update_time();
    saved::close_others(&mut engine.sockets, "The server is being restarted");
    engine.remove_closed();
}

/// Reads nothing from now on.
pub(crate) fn stop<P: Protocol>(engine: &mut Engine<P>) {
    // Some have connected since.
    send_others_away(engine);
    engine.is_stopped = true;
}

/// Goes on after [`stop`].
pub(crate) fn resume<P: Protocol>(engine: &mut Engine<P>) {
    engine.is_stopped = false;
}

/// Whether clients that cannot be handed over still have to be sent something.
pub(crate) fn has_farewells<P: Protocol>(engine: &Engine<P>) -> bool {
    saved::have_others_unsent(&engine.sockets)
}

/// Processes the inbox without writing. Returns the number of messages taken so far. If the numbers of all
/// workers are the same as the time before, there is nothing left.
pub(crate) fn settle<P: Protocol>(engine: &mut Engine<P>) -> u64 {
    engine.update_time();
    engine.inbox.process_all(&mut engine.hub, &mut engine.sockets);
    engine.remove_closed();
    engine.inbox.count()
}

/// Ends the connections that cannot be handed over.
pub(crate) fn give_up_others<P: Protocol>(engine: &mut Engine<P>) {
    saved::give_up_others(&mut engine.sockets);
    engine.remove_closed();
}

/// Saves the connections. A frame that is in several send queues is saved once.
pub(crate) fn save<P: Protocol>(engine: &Engine<P>, saver: &mut EngineSaver<'_>) -> io::Result<()> {
    (saver.write)(EngineRecord::Worker(engine.hub.save()))?;
    let mut numbers: HashMap<*const Frame, u32> = HashMap::new();
    for place in 0..engine.sockets.places() {
        let id = ConnectionId(place as u32);
        let Some(socket) = engine.sockets.get(id) else { continue };
        let Some(hub) = engine.hub.save_connection(id) else { continue };
        for frame in socket.queued_frames() {
            let next = numbers.len() as u32;
            if let std::collections::hash_map::Entry::Vacant(entry) =
                numbers.entry(Rc::as_ptr(frame))
            {
                entry.insert(next);
                (saver.write)(EngineRecord::Frame(frame.bytes().clone()))?;
            }
        }
        let number = |frame: &Shared| numbers[&Rc::as_ptr(frame)];
        let unhandled = engine.unhandled.get(&id).map_or(&[][..], |input| input);
        let Some(mut socket) = saved::save(&engine.sockets, id, saver.descriptors, number)? else {
            continue;
        };
        socket.input.extend_from_slice(unhandled);
        socket.origin = engine.sockets.get(id).and_then(|it| (saver.origin)(it.origin()));
        (saver.write)(EngineRecord::Connection { hub: Box::new(hub), socket: Box::new(socket) })?;
    }
    Ok(())
}

/// Takes over the sockets of restored connections.
pub(crate) fn restore<P: Protocol>(
    engine: &mut Engine<P>,
    restored: Vec<RestoredSocket>,
    descriptors: &mut Descriptors,
) {
    engine.update_time();
    let mut frames: HashMap<*const u8, Shared> = HashMap::new();
    for mut socket in restored {
        let id = socket.id;
        let input = std::mem::take(&mut socket.saved.input);
        let queue = std::mem::take(&mut socket.frames).into_iter().map(|bytes| {
            let shared = || Shared::new(Frame::from_bytes(bytes.clone()));
            frames.entry(bytes.as_ptr()).or_insert_with(shared).clone()
        });
        let queue: Vec<Shared> = queue.collect();
        let registry = engine.poll.registry();
        engine.connections += 1;
        let is_restored = descriptors.take(socket.saved.descriptor).and_then(|stream| {
            saved::restore(&mut engine.sockets, socket, stream.into(), &queue, registry)
        });
        if let Err(error) = is_restored {
            tracing::error!(%error, "a connection that was handed over is lost");
            engine.connections -= 1;
            engine.counters.count_end(Ended::Lost);
            engine.hub.leave_all(id, End::Lost, engine.sockets.now);
            engine.hub.close(id, engine.sockets.now);
            continue;
        }
        if !input.is_empty() {
            engine.unhandled.insert(id, input);
            engine.read_again(id);
        }
    }
    engine.remove_closed();
}
