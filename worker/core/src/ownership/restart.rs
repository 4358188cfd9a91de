//! Whether a plan goes on with the newest incarnation that is kept, or begins another one: `restart` and
//! `onIncompatibleChange: Restart` of a pipeline.
//!
//! Every worker of a plan decides for itself, so what is decided rests on nothing but what is kept and what the plan says.

use serde::{Deserialize, Serialize};

/// A start from scratch that somebody asked for. Numbers only grow: those of a pipeline that is deleted and made again are
/// above all of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// When the pipeline was made, in seconds since 1970.
    pub made: i64,
    /// How often it was started from scratch since then, from 1.
    pub count: u64,
    /// What the user called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl Restart {
    fn number(&self) -> (i64, u64) {
        (self.made, self.count)
    }
}

/// What to do about the newest incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Go on with it.
    Continue,
    /// Make the next one; what is kept of this one stays.
    Anew,
    /// It was made for a later plan than this: do nothing.
    Overtaken,
}

/// Decides by the start that the newest incarnation was made for, and that of the plan; none where nobody asked for one.
pub fn begin(found: Option<&Restart>, plan: Option<&Restart>) -> Begin {
    let Some(plan) = plan else { return Begin::Continue };
    let Some(found) = found else { return Begin::Anew };
    match found.number().cmp(&plan.number()) {
        std::cmp::Ordering::Equal => Begin::Continue,
        std::cmp::Ordering::Greater => Begin::Overtaken,
        // A manifest that still holds its last restart makes the pipeline again, perhaps in another cluster.
        std::cmp::Ordering::Less if is_the_same_again(found, plan) => Begin::Continue,
        std::cmp::Ordering::Less => Begin::Anew,
    }
}

fn is_the_same_again(found: &Restart, plan: &Restart) -> bool {
    found.made != plan.made && plan.count == 1 && plan.nonce.is_some() && found.nonce == plan.nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart(made: i64, count: u64, nonce: &str) -> Restart {
        Restart { made, count, nonce: Some(nonce.to_owned()) }
    }

    #[test]
    fn each_restart_makes_one_incarnation_however_many_workers_begin() {
        let (first, second) = (restart(1, 1, "a"), restart(1, 2, "b"));
        assert_eq!(begin(None, None), Begin::Continue);
        assert_eq!(begin(None, Some(&first)), Begin::Anew);
        assert_eq!(begin(Some(&first), Some(&first)), Begin::Continue);
        assert_eq!(begin(Some(&first), Some(&second)), Begin::Anew);
        assert_eq!(begin(Some(&second), Some(&second)), Begin::Continue);
    }

    #[test]
    fn a_worker_of_an_older_plan_does_not_undo_a_restart() {
        assert_eq!(begin(Some(&restart(1, 2, "b")), Some(&restart(1, 1, "a"))), Begin::Overtaken);
    }

    #[test]
    fn a_pipeline_that_is_made_again_goes_on_and_its_next_restart_counts() {
        let kept = restart(1, 7, "a");
        assert_eq!(begin(Some(&kept), None), Begin::Continue, "its manifest asks for none");
        assert_eq!(begin(Some(&kept), Some(&restart(2, 1, "a"))), Begin::Continue, "its manifest has the last one");
        assert_eq!(begin(Some(&kept), Some(&restart(2, 1, "b"))), Begin::Anew);
        assert_eq!(begin(Some(&kept), Some(&restart(2, 2, "a"))), Begin::Anew, "a changed stage");
        let changed = Restart { nonce: None, ..restart(1, 1, "") };
        assert_eq!(begin(Some(&changed), Some(&Restart { nonce: None, ..restart(2, 1, "") })), Begin::Anew);
    }
}
