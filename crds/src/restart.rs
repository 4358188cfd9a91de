//! Which start from scratch a plan belongs to, and the numbers of its stages, as the operator notes them beside a plan and
//! workers read them there; no resource of its own.

use serde::{Deserialize, Serialize};

use crate::connector::StartAt;

/// Key of the plan's ConfigMap, and so the name of the file, that holds it; absent until there was one.
pub const RESTART: &str = "restart.json";

/// Which start from scratch a plan belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restarted {
    /// When the pipeline was made, in seconds since 1970: one that is deleted and made again counts anew.
    pub made: i64,
    /// How often all of it was started from scratch since then.
    pub count: u64,
    /// `restart.nonce` as it was last seen; a start that a changed source brought about has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Where sources start that can; by default each one's `startAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StartAt>,
    /// The numbers of its stages, where they are not those that it was planned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
}

/// The numbers of a plan's stages, as [`crate::statements`] gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// Of each stage, in the order in which they were planned.
    pub stages: Vec<u32>,
}
