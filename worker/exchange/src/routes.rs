//! Who is attached to what: which logs are served here, which ones a peer serves, and which subscriptions wait for a
//! reader. Pure: the hub ([`crate::hub`]) moves messages as is said here.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::log::LogId;
use thalweg_core::unit::RunId;

/// A subscription, as the hub numbers them in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(u64);

/// A server of a log, as the hub numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u64);

/// Who subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A unit of this process, which is served from wherever its log is.
    Unit,
    /// A peer, which is served only from what is served here: nobody passes on what another one reads.
    Peer,
}

/// Who serves a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A server in this process.
    Here(ServerId),
    /// A peer.
    Peer(RunId),
}

/// What changes with an assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Subscriptions that have waited and now have a reader, in the order in which they came.
    pub attached: Vec<(LineId, RunId)>,
    /// Subscriptions whose peer reads their log no more. They are over once it is said.
    pub referred: Vec<(LineId, RunId)>,
}

/// Where logs are, and who wants them.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// What comes next, of either kind.
    next: u64,
    served: BTreeMap<LogId, ServerId>,
    /// Logs that a peer reads.
    placed: BTreeMap<LogId, RunId>,
    /// Subscriptions that no reader is known for.
    parked: BTreeMap<LineId, (LogId, Asker)>,
    /// Subscriptions that a peer serves.
    away: BTreeMap<LineId, (LogId, RunId)>,
}

impl Routes {
    /// A subscription comes. Gives its reader, where one is known; otherwise it waits. What is served here is preferred
    /// to what a peer reads.
    pub fn subscribe(&mut self, log: &LogId, asker: Asker) -> (LineId, Option<Reader>) {
        let line = LineId(self.number());
        if let Some(&server) = self.served.get(log) {
            return (line, Some(Reader::Here(server)));
        }
        if let (Some(run), Asker::Unit) = (self.placed.get(log), asker) {
            self.away.insert(line, (log.clone(), run.clone()));
            return (line, Some(Reader::Peer(run.clone())));
        }
        self.parked.insert(line, (log.clone(), asker));
        (line, None)
    }

    /// A subscription is over.
    pub fn unsubscribe(&mut self, line: LineId) {
        self.parked.remove(&line);
        self.away.remove(&line);
    }

    /// A log is served here from now on, in place of a server before. Gives the subscriptions that waited for it, in the
    /// order in which they came.
    pub fn serve(&mut self, log: &LogId) -> (ServerId, Vec<LineId>) {
        let server = ServerId(self.number());
        self.served.insert(log.clone(), server);
        let awaited = self.parked.extract_if(.., |_, (parked, _)| parked == log).map(|(line, _)| line).collect();
        (server, awaited)
    }

    /// A server ends; another one that took its place stays.
    pub fn withdraw(&mut self, log: &LogId, server: ServerId) {
        if self.served.get(log) == Some(&server) {
            self.served.remove(log);
        }
    }

    /// An assignment came. `logs` says who reads what, and `peers` who there is; `changed` are those of them whose
    /// connection must be made anew.
    pub fn place(
        &mut self,
        peers: &BTreeSet<RunId>,
        changed: &BTreeSet<RunId>,
        logs: BTreeMap<LogId, RunId>,
    ) -> Replaced {
        self.placed = logs.into_iter().filter(|(_, run)| peers.contains(run)).collect();
        let placed = &self.placed;
        let has_moved = |log: &LogId, run: &RunId| changed.contains(run) || placed.get(log) != Some(run);
        let referred = self.away.extract_if(.., |_, (log, run)| has_moved(log, run));
        let referred = referred.map(|(line, (_, run))| (line, run)).collect();
        let is_placed = |log: &LogId, asker: Asker| asker == Asker::Unit && placed.contains_key(log);
        let found: Vec<_> = self.parked.extract_if(.., |_, (log, asker)| is_placed(log, *asker)).collect();
        let mut attached = Vec::new();
        for (line, (log, _)) in found {
            if let Some(run) = self.placed.get(&log) {
                attached.push((line, run.clone()));
                self.away.insert(line, (log, run.clone()));
            }
        }
        Replaced { attached, referred }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
