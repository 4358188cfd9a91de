//! Which slot a worker takes, and when it has lost it. Slots are Leases; what is decided here is who is *named* an owner,
//! not who may write: two workers that both believe to hold a slot are told apart by epochs.

use std::collections::HashMap;
use std::time::Duration;

use thalweg_core::unit::RunId;
use thalweg_crds::ids::Slot;

/// How long a Lease that does not say it may stand unchanged, by the watch of whoever looks, before its holder counts as
/// gone.
pub const LASTS: Duration = Duration::from_secs(15);
/// Renewals within the time that a Lease lasts.
const RENEWALS: u32 = 3;

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The slot.
    pub slot: Slot,
    /// Changes with every write.
    pub version: String,
    /// The run id of its holder.
    pub holder: Option<String>,
    /// How long it lasts unchanged.
    pub lasts: Duration,
}

/// What to do about the slots that were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Write this worker's run id into this one.
    Claim(Slot),
    /// All have holders that seem alive.
    Wait,
}

/// Watches Leases by this process's own clock: what other machines call "now" proves nothing.
#[derive(Debug, Default)]
pub struct Watch(HashMap<Slot, (String, Duration)>);

impl Watch {
    /// Chooses a slot: the one that is this run's already (the answer to a claim was lost) or an earlier run's of this
    /// pod (which has ended), else the first that is free, else one whose holder has not renewed for as long as it lasts.
    pub fn choose(&mut self, seen: &[Seen], run: &RunId, pod_uid: &str, now: Duration) -> Choice {
        self.note(seen, now);
        let of_pod = format!("{pod_uid}/");
        let holder = |seen: &&Seen| seen.holder.clone().filter(|holder| !holder.is_empty());
        let mine = |seen: &&Seen| holder(seen).is_some_and(|holder| holder == run.0 || holder.starts_with(&of_pod));
        let free = |seen: &&Seen| holder(seen).is_none();
        let silent = |seen: &&Seen| now.saturating_sub(self.unchanged_since(seen, now)) >= seen.lasts;
        let chosen = seen.iter().find(mine).or_else(|| seen.iter().find(free)).or_else(|| seen.iter().find(silent));
        chosen.map_or(Choice::Wait, |seen| Choice::Claim(seen.slot.clone()))
    }

    /// How long each of some slots has been unchanged; nothing for one that was never seen before.
    pub fn silences(&mut self, seen: &[Seen], now: Duration) -> Vec<Duration> {
        self.note(seen, now);
        seen.iter().map(|seen| now.saturating_sub(self.unchanged_since(seen, now))).collect()
    }

    fn note(&mut self, seen: &[Seen], now: Duration) {
        self.0.retain(|slot, _| seen.iter().any(|seen| seen.slot == *slot));
        for seen in seen {
            let known = self.0.entry(seen.slot.clone()).or_insert_with(|| (seen.version.clone(), now));
            if known.0 != seen.version {
                *known = (seen.version.clone(), now);
            }
        }
    }

    fn unchanged_since(&self, seen: &Seen, now: Duration) -> Duration {
        self.0.get(&seen.slot).map_or(now, |(_, since)| *since)
    }
}

/// How often the holder of a Lease renews it.
pub fn renew_every(lasts: Duration) -> Duration {
    lasts / RENEWALS
}

/// Whether a run still holds a slot, by what its Lease says now; `None` where there is no such Lease any more.
pub fn still_holds(seen: Option<&Seen>, run: &RunId) -> bool {
    seen.is_some_and(|seen| seen.holder.as_deref() == Some(run.0.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(slot: &str, version: u32, holder: &str) -> Seen {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        Seen { slot: Slot(slot.to_owned()), version: version.to_string(), holder, lasts: LASTS }
    }

    fn run() -> RunId {
        RunId("me/1".to_owned())
    }

    fn claim(slot: &str) -> Choice {
        Choice::Claim(Slot(slot.to_owned()))
    }

    #[test]
    fn the_first_free_slot_is_taken() {
        let slots = [seen("p-0", 1, "other/0"), seen("p-1", 1, ""), seen("p-2", 1, "")];
        assert_eq!(Watch::default().choose(&slots, &run(), "me", Duration::ZERO), claim("p-1"));
    }

    #[test]
    fn the_slot_of_an_earlier_container_of_this_pod_is_taken_at_once() {
        let slots = [seen("p-0", 1, ""), seen("p-1", 1, "me/0"), seen("p-2", 1, "mean/0")];
        assert_eq!(Watch::default().choose(&slots, &run(), "me", Duration::ZERO), claim("p-1"));
    }

    #[test]
    fn a_holder_that_does_not_renew_loses_its_slot_by_the_clock_of_whoever_watches() {
        let mut watch = Watch::default();
        let silent = [seen("p-0", 1, "other/0")];
        assert_eq!(watch.choose(&silent, &run(), "me", 100 * SECOND), Choice::Wait);
        assert_eq!(watch.choose(&silent, &run(), "me", 114 * SECOND), Choice::Wait);
        let renewed = [seen("p-0", 2, "other/0")];
        assert_eq!(watch.choose(&renewed, &run(), "me", 115 * SECOND), Choice::Wait);
        assert_eq!(watch.choose(&renewed, &run(), "me", 129 * SECOND), Choice::Wait);
        assert_eq!(watch.choose(&renewed, &run(), "me", 130 * SECOND), claim("p-0"));
    }

    #[test]
    fn silence_is_counted_from_the_last_change() {
        let mut watch = Watch::default();
        let mut after = |version, seconds: u32| watch.silences(&[seen("p-0", version, "other/0")], seconds * SECOND);
        assert_eq!(after(1, 100), [Duration::ZERO]);
        assert_eq!(after(1, 109), [9 * SECOND]);
        assert_eq!(after(2, 110), [Duration::ZERO]);
    }

    #[test]
    fn a_slot_that_vanished_and_came_back_is_watched_anew() {
        let mut watch = Watch::default();
        let slots = [seen("p-0", 1, "other/0")];
        watch.choose(&slots, &run(), "me", Duration::ZERO);
        watch.choose(&[], &run(), "me", SECOND);
        assert_eq!(watch.choose(&slots, &run(), "me", 20 * SECOND), Choice::Wait);
    }

    #[test]
    fn a_slot_is_lost_with_its_lease_or_to_another_holder() {
        assert!(still_holds(Some(&seen("p-0", 1, "me/1")), &run()));
        assert!(!still_holds(Some(&seen("p-0", 1, "me/2")), &run()));
        assert!(!still_holds(Some(&seen("p-0", 1, "")), &run()));
        assert!(!still_holds(None, &run()));
    }
}
