//! Workers that talk over loopback: who is let in, and what comes over the wire.

mod pinned;
mod served;
mod worker;
