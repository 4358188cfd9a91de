//! The plan as the runtime sees it: stages, what each reads, and where its rows go.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use thalweg_core::unit::StageId;

use crate::transform::Transform;
use crate::window::WindowedAggregate;

/// The hidden column that numbers the log of a row (`UInt32`).
pub const LOG_COLUMN: &str = "__log";
/// The hidden column that holds the position of a row in its log (`UInt64`).
pub const POSITION_COLUMN: &str = "__position";

/// A pipeline's SQL, planned.
#[derive(Clone, Debug)]
pub struct PlannedPipeline {
    /// Stages, each after those that it reads.
    pub stages: Vec<Stage>,
    /// Names of the lookup sources that must be read before anything else.
    pub lookups: Vec<String>,
}

impl PlannedPipeline {
    /// The stage of a number.
    pub fn stage(&self, id: StageId) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.id == id)
    }

    /// The stages of each statement, which stand behind each other, with the sink that it feeds.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &[Stage])> {
        let statements = self.stages.chunk_by(|stage, next| stage.statement == next.statement);
        statements.map(|stages| (Self::sink_of(stages), stages))
    }

    fn sink_of(stages: &[Stage]) -> &str {
        let mut sinks = stages.iter().rev().filter_map(|stage| match &stage.output {
            StageOutput::Sink(sink) => Some(sink.as_str()),
            StageOutput::Stage(_) => None,
        });
        sinks.next().unwrap_or_default()
    }

    /// Gives each stage another number, in the order of the stages; whether there are as many.
    #[must_use]
    pub fn renumber(&mut self, numbers: &[StageId]) -> bool {
        let renumbered: HashMap<_, _> = self.stages.iter().map(|stage| stage.id).zip(numbers.iter().copied()).collect();
        let number = |id: StageId| renumbered.get(&id).copied().unwrap_or(id);
        for stage in &mut self.stages {
            stage.id = number(stage.id);
            if let StageOutput::Stage(next) = &mut stage.output {
                *next = number(*next);
            }
            for input in &mut stage.inputs {
                if let InputFrom::Stage(from) = &mut input.from {
                    *from = number(*from);
                }
            }
        }
        numbers.len() == self.stages.len()
    }
}

/// A maximal piece of the plan that needs no re-keying.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its number: as it was planned the index in [`PlannedPipeline::stages`], later the one that it keeps.
    pub id: StageId,
    /// Which `INSERT` it belongs to, from 0.
    pub statement: usize,
    /// What it reads. More than one for `UNION ALL`; each gives the same columns to [`Stage::kind`].
    pub inputs: Vec<StageInput>,
    /// What it does with the rows of its inputs.
    pub kind: StageKind,
    /// Columns that it emits.
    pub schema: SchemaRef,
    /// Where its rows go.
    pub output: StageOutput,
    /// Equal for stages whose state can be carried over: a hash of all that shapes it.
    pub fingerprint: String,
}

impl Stage {
    /// Gives all of its transforms the lookup tables, whole, by SQL name.
    ///
    /// # Errors
    /// As [`Transform::bind`].
    pub fn bind(&self, lookups: &HashMap<String, RecordBatch>) -> Result<Self, String> {
        let inputs = self.inputs.iter().map(|input| {
            let transform = input.transform.bind(lookups)?;
            Ok(StageInput { transform, ..input.clone() })
        });
        let kind = match &self.kind {
            StageKind::Stateless => StageKind::Stateless,
            StageKind::Windowed(aggregate) => {
                let finish = aggregate.finish.bind(lookups)?;
                StageKind::Windowed(Arc::new(WindowedAggregate { finish, ..aggregate.as_ref().clone() }))
            }
        };
        Ok(Self { inputs: inputs.collect::<Result<_, String>>()?, kind, ..self.clone() })
    }
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum StageKind {
    /// Nothing more: rows go out as the transforms made them. One unit a split.
    Stateless,
    /// Groups by window and keys. One unit a key group.
    Windowed(Arc<WindowedAggregate>),
}

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageOutput {
    /// To the sink of this SQL name.
    Sink(String),
    /// To the stage that reads this one's outboxes.
    Stage(StageId),
}

/// One input of a stage.
#[derive(Clone, Debug)]
pub struct StageInput {
    /// What is read.
    pub from: InputFrom,
    /// The columns that are needed of it, in the order in which [`StageInput::transform`] expects them. For a source
    /// with a watermark that feeds a window, the watermark's column is among them. Where the order of rows matters
    /// (`first_value`, `last_value`), [`LOG_COLUMN`] and [`POSITION_COLUMN`] follow, which the reader adds.
    pub columns: Vec<String>,
    /// From those columns to the columns of the stage: for `Stateless` the output, for `Windowed` the layout of
    /// [`WindowedAggregate::input_schema`].
    pub transform: Arc<Transform>,
}

/// What a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputFrom {
    /// A source, by its SQL name.
    Source(String),
    /// An earlier stage.
    Stage(StageId),
}
