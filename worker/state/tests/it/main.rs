//! State on real local folders.

mod kill;
mod lists;
mod pipelines;
mod roots;
mod stores;
