//! Hand-overs: a node is saved, dropped, and restored from the bytes.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use clarim_hub::snapshot::{
    NodeRecord, SavedCluster, SavedConnection, SavedDelay, SavedNode, SavedWorker, SnapshotError,
    SnapshotReader, SnapshotWriter,
};
use clarim_hub::{
    Apps, ConnectionAddr, Node, NodeConfig, OutputSink, Worker, WorkerId, WorkerRestorer,
};
use clarim_protocol::SocketId;
use serde::{Deserialize, Serialize};

use super::{Desk, Outbound, Recorder, Socket, World};

/// Everything in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    Node(SavedNode),
    Contents(NodeRecord),
    Worker(SavedWorker),
    Connection(Box<SavedConnection>),
    Cluster(SavedCluster),
    Delay(SavedDelay),
}

/// Returns everything that a node and its workers hold.
pub(crate) fn save<'w, S: OutputSink + 'w>(
    node: &Node<S>,
    workers: impl IntoIterator<Item = &'w Worker<S>>,
    now: std::time::Duration,
) -> Vec<Record> {
    let mut records = vec![Record::Node(node.save(now, now))];
    node.save_contents(&mut |record| {
        records.push(Record::Contents(record));
        Ok(())
    })
    .unwrap();
    for worker in workers {
        records.push(Record::Worker(worker.save()));
        let connections = worker.connections().map(|id| worker.save_connection(id).unwrap());
        records.extend(connections.map(|saved| Record::Connection(Box::new(saved))));
    }
    records
}

pub(crate) fn encode(records: &[Record]) -> Vec<u8> {
    let mut writer = SnapshotWriter::begin(Vec::new(), "1.2.3").unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Record>, SnapshotError> {
    let mut reader = SnapshotReader::begin(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.read()? {
        records.push(record);
    }
    Ok(records)
}

/// Returns a record as it comes out of the bytes.
pub(crate) fn recode(record: Record) -> Record {
    let decoded = decode(&encode(std::slice::from_ref(&record))).unwrap();
    assert_eq!(decoded, [record], "the format loses something");
    decoded.into_iter().next().unwrap()
}

/// A restored node, its workers, and the new addresses of its connections.
pub(crate) struct Restored<S> {
    pub(crate) node: Arc<Node<S>>,
    pub(crate) workers: Vec<Worker<S>>,
    pub(crate) addresses: HashMap<SocketId, ConnectionAddr>,
}

pub(crate) fn restore<S: OutputSink>(
    apps: Apps,
    config: NodeConfig,
    sink: S,
    records: Vec<Record>,
) -> Result<Restored<S>, SnapshotError> {
    let Some(Record::Node(saved)) = records.first().cloned() else {
        panic!("a snapshot begins with the node")
    };
    let now = saved.now.get();
    let node = Arc::new(Node::new(apps, config, sink));
    node.restore(&saved, now);
    let restorer = |id| WorkerRestorer::new(WorkerId(id), node.clone(), &saved);
    let mut restorers: Vec<_> = (0..config.workers).map(restorer).collect();
    let mut addresses = HashMap::new();
    for record in records {
        match record {
            Record::Node(_) | Record::Cluster(_) | Record::Delay(_) => {}
            Record::Contents(record) => node.restore_record(record, now)?,
            Record::Worker(worker) => restorers.iter_mut().for_each(|to| to.add_worker(&worker)),
            Record::Connection(connection) => {
                let worker = WorkerRestorer::<S>::worker_of(&saved, &connection, config.workers);
                let added = restorers[usize::from(worker.0)].add(&connection)?;
                addresses.extend(added.map(|connection_id| {
                    let addr = ConnectionAddr { worker, connection: connection_id };
                    (connection.socket_id, addr)
                }));
            }
        }
    }
    let workers = restorers.into_iter().map(WorkerRestorer::finish).collect();
    node.finish_restore(now);
    Ok(Restored { node, workers, addresses })
}

/// Sorts the records, and removes what a hand-over to another number of workers changes.
fn comparable(mut records: Vec<Record>, is_moved: bool) -> Vec<Record> {
    for record in &mut records {
        match record {
            Record::Node(node) if is_moved => node.workers = 0,
            Record::Connection(connection) if is_moved => {
                (connection.worker, connection.slot) = (0, 0);
            }
            _ => {}
        }
    }
    records.retain(|record| !is_moved || !matches!(record, Record::Worker(_)));
    records.sort_by_cached_key(|record| format!("{record:?}"));
    records
}

/// Hands everything over to a new node. Returns the new addresses of its connections, by socket id.
pub(crate) fn hand_over(world: &mut World, workers: u16) -> HashMap<SocketId, ConnectionAddr> {
    world.run_all();
    let node = world.node.clone();
    let config = NodeConfig { workers, ..node.config() };
    let is_moved = workers != node.config().workers;
    let before = save(&node, world.workers(), world.now);
    let read = decode(&encode(&before)).unwrap();
    assert_eq!(read, before, "the format loses something");
    let apps = Apps::new(node.apps().iter().cloned());
    let sink = node.sink().successor(workers);
    let Restored { node: new, workers, addresses } = restore(apps, config, sink, read).unwrap();
    let after = save(&new, &workers, world.now);
    assert_eq!(comparable(after, is_moved), comparable(before, is_moved));
    assert_eq!(new.totals(), node.totals());
    assert_eq!(new.retained_bytes(), node.retained_bytes());
    assert_eq!(new.apps().total_connections(), node.apps().total_connections());
    assert!((0..config.workers).all(|worker| new.sink().is_empty(WorkerId(worker))));
    world.node = new;
    replace_desks(world, workers, &addresses);
    addresses
}

fn replace_desks(
    world: &mut World,
    workers: Vec<Worker<Outbound>>,
    addresses: &HashMap<SocketId, ConnectionAddr>,
) {
    let desk = |worker: Worker<Outbound>, id: usize| Desk {
        id: WorkerId(id as u16),
        worker,
        recorder: Recorder::default(),
    };
    let desks = workers.into_iter().zip(0..).map(|(worker, id)| desk(worker, id)).collect();
    for mut old in mem::replace(&mut world.desks, desks) {
        assert!(old.recorder.closing.is_empty(), "a worker has settled");
        for id in old.worker.connections().collect::<Vec<_>>() {
            let socket: Option<Socket> = old.recorder.sockets[id.0 as usize].take();
            let addr = addresses[&old.socket_id(id)];
            let sockets = &mut world.desk(addr).recorder.sockets;
            let place = addr.connection.0 as usize;
            sockets.resize_with(sockets.len().max(place + 1), || None);
            sockets[place] = socket;
        }
    }
}
