//! The test bed: real brokers and a real cluster.
