//! Who is attached to what: which logs are served here, and which subscriptions wait for a reader. Pure: the hub
//! ([`crate::hub`]) moves messages as is said here.

use std::collections::BTreeMap;

use thalweg_core::log::LogId;

/// A subscription, as the hub numbers them in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(u64);

/// A server of a log, as the hub numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u64);

/// Where logs are, and who wants them.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// What comes next, of either kind.
    next: u64,
    served: BTreeMap<LogId, ServerId>,
    /// Subscriptions that no reader is known for.
    parked: BTreeMap<LineId, LogId>,
}

impl Routes {
    /// A subscription comes. Gives its reader, where one is known; otherwise it waits.
    pub fn subscribe(&mut self, log: &LogId) -> (LineId, Option<ServerId>) {
        let line = LineId(self.number());
        let server = self.served.get(log).copied();
        if server.is_none() {
            self.parked.insert(line, log.clone());
        }
        (line, server)
    }

    /// A subscription is over. Whether it waited.
    pub fn unsubscribe(&mut self, line: LineId) -> bool {
        self.parked.remove(&line).is_some()
    }

    /// A log is served here from now on, in place of a server before. Gives the subscriptions that waited for it, in the
    /// order in which they came.
    pub fn serve(&mut self, log: &LogId) -> (ServerId, Vec<LineId>) {
        let server = ServerId(self.number());
        self.served.insert(log.clone(), server);
        let awaited = self.parked.extract_if(.., |_, parked| parked == log).map(|(line, _)| line).collect();
        (server, awaited)
    }

    /// A server ends; another one that took its place stays.
    pub fn withdraw(&mut self, log: &LogId, server: ServerId) {
        if self.served.get(log) == Some(&server) {
            self.served.remove(log);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
