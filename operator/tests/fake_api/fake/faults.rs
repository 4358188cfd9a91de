//! What goes wrong with one write.

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator dies before the request is sent.
    KillBefore,
    /// The write is done, and the operator dies before it has the answer.
    KillAfter,
    /// Nothing is done, and the answer is this status.
    Refuse(u16),
    /// The write is done, and the answer is a timeout of the gateway.
    LoseAnswer,
}

impl Fault {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::KillBefore,
        Self::KillAfter,
        Self::Refuse(401),
        Self::Refuse(409),
        Self::Refuse(429),
        Self::Refuse(500),
        Self::LoseAnswer,
    ];

    /// Whether the operator dies.
    pub fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter)
    }

    /// Whether the write is done all the same.
    pub fn commits(self) -> bool {
        matches!(self, Self::KillAfter | Self::LoseAnswer)
    }
}
