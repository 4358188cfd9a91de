//! Decides what a pipeline needs in a cluster: pure functions, neither a runtime nor a client.
