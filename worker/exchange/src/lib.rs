//! Serves the ranges of a log to the units that read it.
