//! What silence means: the client library tells neither an outage, nor a topic that is gone, nor a log that lost what
//! is wanted. Pure.

use super::client::{Bounds, EpochEnd, Epochs, Topic};

/// What the cluster says of a partition whose reader gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The topic; `None` where there is none.
    pub topic: Option<Topic>,
    /// The partition's offsets; `None` where there is no such partition.
    pub bounds: Option<Bounds>,
}

/// What a silent reader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that it may read follows.
    Wait,
    /// Something follows, and the reader does not get it: open another one.
    Stalled,
    /// The topic, or the partition, is gone.
    Gone,
    /// It is another topic of the same name.
    Another,
    /// What is wanted was deleted before it was read.
    Overtaken(Bounds),
    /// What is wanted lies behind the log's end: the log was cut.
    Cut(Bounds),
}

/// Judges, `next` being the offset that is wanted of the topic `id`.
pub(super) fn judge(said: Said, id: u128, next: u64) -> Verdict {
    match said {
        Said { topic: Some(topic), .. } if topic.id != id => Verdict::Another,
        Said { topic: None, .. } | Said { bounds: None, .. } => Verdict::Gone,
        Said { bounds: Some(bounds), .. } if next < bounds.start => Verdict::Overtaken(bounds),
        Said { bounds: Some(bounds), .. } if next > bounds.end => Verdict::Cut(bounds),
        Said { bounds: Some(bounds), .. } if next < bounds.stable_end => Verdict::Stalled,
        Said { .. } => Verdict::Wait,
    }
}

/// The last record that was read: the epoch of the leader that it was written under, and the offset behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The epoch.
    pub epoch: u32,
    /// The offset behind it.
    pub next: u64,
}

/// Whether a record that was read is surely in the log of those that follow it. One leader appends to one log: where the
/// epoch is still the same, nothing was cut off in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// It is.
    Surely,
    /// It is not: epochs never go back.
    Never,
    /// Whoever leads now knows where that epoch ends.
    Ask,
}

/// Judges records by their epochs.
pub(super) fn follows(seen: Option<Seen>, found: Epochs) -> Follows {
    match seen {
        Some(seen) if found.first < seen.epoch => Follows::Never,
        Some(seen) if found.first > seen.epoch => Follows::Ask,
        _ => Follows::Surely,
    }
}

/// Whether a record that was read is gone, where its epoch, or what is left of those before it, ends there: judged as Java's
/// consumer does (KIP-320). Retention does not move the end of an epoch to before what was read of it. That of an earlier epoch
/// says nothing by itself: compaction may have taken all records of an epoch, and who copied the log since knows of none.
pub(super) fn is_gone(seen: Seen, end: EpochEnd) -> bool {
    end.end < seen.next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_another_leader_follow_where_it_has_what_was_read_before() {
        let (seen, found) = (Seen { epoch: 4, next: 100 }, |first| Epochs { first, last: 9 });
        assert_eq!(follows(None, found(1)), Follows::Surely, "nothing was read yet");
        let judged = [3, 4, 5].map(|first| follows(Some(seen), found(first)));
        assert_eq!(judged, [Follows::Never, Follows::Surely, Follows::Ask]);
        let gone = |epoch, end| is_gone(seen, EpochEnd { epoch, end });
        assert!(!gone(4, 100) && !gone(4, 120), "it was appended to before another one led");
        assert!(gone(4, 99));
        assert!(gone(3, 99), "a log of another leader, which has nothing of the epoch");
        assert!(!gone(3, 120), "compaction has taken the epoch, and the next one begins behind it");
        assert!(!gone(4, 250), "retention has deleted the epoch: it ends where the log starts");
    }

    fn said(id: u128, start: u64, stable_end: u64, end: u64) -> Said {
        let topic = Some(Topic { id, partitions: 1, may_read: true, may_write: true });
        Said { topic, bounds: Some(Bounds { start, stable_end, end }) }
    }

    #[test]
    fn silence_at_the_end_or_before_an_open_transaction_is_waited_for() {
        assert_eq!(judge(said(1, 0, 9, 9), 1, 9), Verdict::Wait);
        assert_eq!(judge(said(1, 0, 9, 12), 1, 9), Verdict::Wait);
        assert_eq!(judge(said(1, 0, 9, 9), 1, 8), Verdict::Stalled);
    }

    #[test]
    fn what_is_lost_is_told_apart() {
        assert_eq!(judge(said(2, 0, 9, 9), 1, 9), Verdict::Another);
        assert_eq!(judge(Said { topic: None, ..said(1, 0, 9, 9) }, 1, 9), Verdict::Gone);
        assert_eq!(judge(Said { bounds: None, ..said(1, 0, 9, 9) }, 1, 9), Verdict::Gone);
        let bounds = Bounds { start: 5, stable_end: 9, end: 9 };
        assert_eq!(judge(said(1, 5, 9, 9), 1, 4), Verdict::Overtaken(bounds));
        assert_eq!(judge(said(1, 5, 9, 9), 1, 10), Verdict::Cut(bounds));
        assert_eq!(judge(said(1, 5, 9, 9), 1, 5), Verdict::Stalled);
    }
}
