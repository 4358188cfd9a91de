use std::sync::Arc;

use proptest::prelude::*;
use thalweg_core::log::SplitId;

use super::*;

fn log(index: u8) -> LogId {
    let source: Arc<str> = "trips".into();
    LogId::Split { source, split: SplitId::new(index.to_string()) }
}

fn run(index: u8) -> RunId {
    RunId(format!("run-{index}"))
}

#[derive(Clone, Debug)]
enum Event {
    Serve(u8),
    Withdraw(prop::sample::Index),
    Subscribe(u8, Asker),
    Unsubscribe(prop::sample::Index),
    Place { peers: BTreeSet<u8>, changed: BTreeSet<u8>, logs: BTreeMap<u8, u8> },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<prop::sample::Index>;
    let runs = || prop::collection::btree_set(0..3u8, 0..4);
    let asker = prop_oneof![2 => Just(Asker::Unit), 1 => Just(Asker::Peer)];
    let place = (runs(), runs(), prop::collection::btree_map(0..3u8, 0..3u8, 0..4));
    let event = prop_oneof![
        2 => (0..3u8).prop_map(Event::Serve),
        2 => index().prop_map(Event::Withdraw),
        6 => (0..3u8, asker).prop_map(|(log, asker)| Event::Subscribe(log, asker)),
        2 => index().prop_map(Event::Unsubscribe),
        2 => place.prop_map(|(peers, changed, logs)| Event::Place { peers, changed, logs }),
    ];
    prop::collection::vec(event, 0..60)
}

#[derive(Clone, Debug)]
struct Line {
    log: LogId,
    asker: Asker,
    reader: Option<Reader>,
}

/// What whoever uses the routes is told.
#[derive(Default)]
struct World {
    routes: Routes,
    lines: BTreeMap<LineId, Line>,
    /// Servers that have not ended, the newest of a log last.
    servers: Vec<(LogId, ServerId)>,
    placed: BTreeMap<LogId, RunId>,
}

impl World {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Serve(index) => {
                let (server, awaited) = self.routes.serve(&log(index));
                self.servers.push((log(index), server));
                for id in awaited {
                    self.attach(id, &log(index), Reader::Here(server));
                }
            }
            Event::Withdraw(index) if !self.servers.is_empty() => {
                let (log, server) = self.servers.remove(index.index(self.servers.len()));
                self.routes.withdraw(&log, server);
                self.lines.retain(|_, line| line.reader != Some(Reader::Here(server)));
            }
            Event::Subscribe(index, asker) => {
                let (id, reader) = self.routes.subscribe(&log(index), asker);
                assert!(
                    self.lines.insert(id, Line { log: log(index), asker, reader }).is_none(),
                    "a number of its own"
                );
            }
            Event::Unsubscribe(index) if !self.lines.is_empty() => {
                let id = *index.get(&self.lines.keys().copied().collect::<Vec<_>>());
                self.lines.remove(&id);
                self.routes.unsubscribe(id);
            }
            Event::Place { peers, changed, logs } => self.place(peers, changed, logs),
            Event::Withdraw(_) | Event::Unsubscribe(_) => {}
        }
    }

    fn place(&mut self, peers: BTreeSet<u8>, changed: BTreeSet<u8>, logs: BTreeMap<u8, u8>) {
        let logs: BTreeMap<_, _> = logs.into_iter().map(|(index, peer)| (log(index), run(peer))).collect();
        let peers: BTreeSet<_> = peers.into_iter().map(run).collect();
        let changed: BTreeSet<_> = changed.into_iter().map(run).collect();
        self.placed = logs.clone().into_iter().filter(|(_, run)| peers.contains(run)).collect();
        let Replaced { attached, referred } = self.routes.place(&peers, &changed, logs);
        let has_moved = |line: &Line, run: &RunId| changed.contains(run) || self.placed.get(&line.log) != Some(run);
        let moved = self.lines.iter().filter_map(|(id, line)| match &line.reader {
            Some(Reader::Peer(run)) if has_moved(line, run) => Some((*id, run.clone())),
            _ => None,
        });
        assert_eq!(referred, moved.collect::<Vec<_>>(), "whoever must find another reader hears it, and nobody else");
        for (id, _) in referred {
            self.lines.remove(&id);
        }
        for (id, run) in attached {
            let log = self.lines[&id].log.clone();
            self.attach(id, &log, Reader::Peer(run));
        }
    }

    fn attach(&mut self, id: LineId, log: &LogId, reader: Reader) {
        let line = self.lines.get_mut(&id).expect("who is gone gets no reader");
        assert_eq!((&line.log, &line.reader), (log, &None), "it waited for this log");
        line.reader = Some(reader);
    }

    fn check(&self) {
        for (id, line) in &self.lines {
            let is_served = self.routes.served.contains_key(&line.log);
            match &line.reader {
                None => {
                    assert!(!is_served, "{id:?} waits for what is served here");
                    let is_placed = line.asker == Asker::Unit && self.placed.contains_key(&line.log);
                    assert!(!is_placed, "{id:?} waits for what a peer reads");
                }
                Some(Reader::Here(server)) => assert!(self.servers.contains(&(line.log.clone(), *server))),
                Some(Reader::Peer(run)) => {
                    assert_eq!(line.asker, Asker::Unit, "nobody passes on what another one reads");
                    assert_eq!(self.placed.get(&line.log), Some(run), "{id:?} stays with who reads its log");
                }
            }
        }
        let known = self.routes.parked.keys().chain(self.routes.away.keys());
        assert!(known.into_iter().all(|id| self.lines.contains_key(id)), "who is gone is forgotten");
    }
}

proptest! {
    #[test]
    fn every_subscription_is_with_who_serves_its_log_or_waits_where_nobody_does(events in events()) {
        let mut world = World::default();
        for event in events {
            world.apply(event);
            world.check();
        }
    }
}

#[test]
fn what_is_served_here_is_not_read_from_a_peer() {
    let mut routes = Routes::default();
    let peers = BTreeSet::from([run(1)]);
    let placed = || BTreeMap::from([(log(0), run(1))]);
    assert_eq!(routes.place(&peers, &BTreeSet::new(), placed()), Replaced::default());
    let (away, reader) = routes.subscribe(&log(0), Asker::Unit);
    assert_eq!(reader, Some(Reader::Peer(run(1))));
    let (server, awaited) = routes.serve(&log(0));
    assert_eq!(awaited, []);
    assert_eq!(routes.subscribe(&log(0), Asker::Unit).1, Some(Reader::Here(server)));
    let replaced = routes.place(&peers, &BTreeSet::new(), BTreeMap::new());
    assert_eq!(replaced, Replaced { referred: vec![(away, run(1))], ..Replaced::default() });
}

#[test]
fn a_peer_waits_for_what_will_be_served_here_and_is_not_sent_on() {
    let mut routes = Routes::default();
    routes.place(&BTreeSet::from([run(1)]), &BTreeSet::new(), BTreeMap::from([(log(0), run(1))]));
    let (line, reader) = routes.subscribe(&log(0), Asker::Peer);
    assert_eq!(reader, None);
    assert_eq!(routes.serve(&log(0)).1, [line]);
}
