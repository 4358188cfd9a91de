//! Units and readers, within a process and over loopback: who is let in, and what comes.

mod local;
mod node;
mod pinned;
mod remote;
mod served;
mod subscribed;
mod worker;
