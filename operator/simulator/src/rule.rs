//! Who decides how many workers there are.

/// What is seen of a pipeline at the end of a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The second.
    pub second: u32,
    /// How many workers there are to be.
    pub wanted: usize,
    /// Splits that stand still since they move.
    pub moving: usize,
    /// The splits.
    pub splits: Vec<SplitView>,
    /// Workers that serve.
    pub workers: Vec<WorkerView>,
}

/// What is seen of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SplitView {
    /// Records that came since the beginning.
    pub end: f64,
    /// Records that came in this second.
    pub arrivals: f64,
    /// Records that wait.
    pub lag: f64,
    /// The worker, by its number.
    pub worker: Option<usize>,
}

/// What is seen of a worker, of this second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerView {
    /// Its number: another one for each that starts.
    pub number: usize,
    /// Records that it did.
    pub done: f64,
    /// Share of the second that it worked.
    pub busy: f64,
    /// Share of the second that it waited for the sink.
    pub blocked: f64,
}

impl View {
    pub(crate) fn lag(&self) -> f64 {
        self.splits.iter().map(|split| split.lag).sum()
    }

    pub(crate) fn arrivals(&self) -> f64 {
        self.splits.iter().map(|split| split.arrivals).sum()
    }

    pub(crate) fn done(&self) -> f64 {
        self.workers.iter().map(|worker| worker.done).sum()
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How many workers there are to be.
    pub workers: usize,
    /// Why.
    pub reason: String,
    /// The worker of each split, where whoever decides says so.
    pub places: Option<Vec<usize>>,
}

/// How splits follow the workers, where whoever decides leaves that open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// Whoever decides names the worker of each.
    Named,
    /// The same number for each worker, moving as few as that takes: Kafka's cooperative sticky assignor (KIP-429).
    Counted,
    /// The same number for each worker, in turn; all stand still at each change: a job that starts anew.
    Restarted,
}

/// Somebody who decides.
pub trait Rule {
    /// What a table calls it.
    fn name(&self) -> &'static str;
    /// How splits follow.
    fn following(&self) -> Following;
    /// Looks at a second, and decides if it is time to.
    fn look(&mut self, view: &View) -> Option<Answer>;
}
