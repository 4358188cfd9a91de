//! Whether a pipeline may use the state that it finds: `pipeline.json` says whose it is.

use serde::{Deserialize, Serialize};

/// Whose state it is: a pipeline that is deleted and made again is the same owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOwner {
    /// The installation, made once.
    pub installation: String,
    /// The pipeline's namespace.
    pub namespace: String,
    /// The pipeline's name.
    pub name: String,
}

/// What is known about an incarnation's state from elsewhere (the assignment, files beside the record).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nobody has worked under this incarnation.
    Nothing,
    /// Somebody has.
    State,
}

/// What a pipeline does that does not own the state: `state.adopt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adopt {
    /// Refuse.
    #[default]
    No,
    /// Take it over, because the user says so.
    Yes,
}

/// What to do about an incarnation's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Create the record if it is absent; where another process was first, decide again.
    Create,
    /// It is ours: use it.
    Use,
    /// Write ourselves down as the owner, then use it.
    Adopt,
    /// It belongs to another owner: `StateInUse`.
    InUse(StateOwner),
    /// There was state, and it is gone: `DataLoss`, never a silent start from zero.
    DataLoss,
}

/// Decides by the owner that the record names, `None` where there is no record.
pub fn claim(found: Option<&StateOwner>, me: &StateOwner, expected: Expected, adopt: Adopt) -> Claim {
    match (found, expected, adopt) {
        (None, Expected::Nothing, _) => Claim::Create,
        (None, Expected::State, _) => Claim::DataLoss,
        (Some(owner), _, _) if owner == me => Claim::Use,
        (Some(_), _, Adopt::Yes) => Claim::Adopt,
        (Some(owner), _, Adopt::No) => Claim::InUse(owner.clone()),
    }
}

/// Decides whether a unit of state that was ours when the job began may be opened, by who has taken it over last since then;
/// `None` where nobody has. Adopting is for the beginning of a job alone: whoever is fenced by a new owner, and would fence it in
/// turn, would have the unit go to and fro for ever.
pub fn still_ours(taken_since: Option<&StateOwner>, me: &StateOwner) -> Claim {
    match taken_since {
        None => Claim::Use,
        Some(owner) => claim(Some(owner), me, Expected::State, Adopt::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(installation: &str) -> StateOwner {
        StateOwner { installation: installation.to_owned(), namespace: "default".to_owned(), name: "p".to_owned() }
    }

    #[test]
    fn state_is_made_used_or_refused_by_its_owner() {
        let me = owner("a");
        assert_eq!(claim(None, &me, Expected::Nothing, Adopt::No), Claim::Create);
        assert_eq!(claim(Some(&me), &me, Expected::State, Adopt::No), Claim::Use);
        assert_eq!(claim(Some(&me), &me, Expected::Nothing, Adopt::No), Claim::Use, "deleted and made again");
        assert_eq!(claim(Some(&owner("b")), &me, Expected::Nothing, Adopt::No), Claim::InUse(owner("b")));
        assert_eq!(claim(Some(&owner("b")), &me, Expected::State, Adopt::Yes), Claim::Adopt);
    }

    #[test]
    fn state_is_ours_until_somebody_else_has_taken_it_over_last() {
        let me = owner("a");
        assert_eq!(still_ours(None, &me), Claim::Use);
        assert_eq!(still_ours(Some(&me), &me), Claim::Use, "taken back");
        assert_eq!(still_ours(Some(&owner("b")), &me), Claim::InUse(owner("b")));
    }

    #[test]
    fn state_that_is_gone_is_never_started_from_zero() {
        for adopt in [Adopt::No, Adopt::Yes] {
            assert_eq!(claim(None, &owner("a"), Expected::State, adopt), Claim::DataLoss);
        }
    }
}
