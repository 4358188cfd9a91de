//! What a stage's state depends on, as a short text that every version computes alike.

use std::fmt::Write as _;

use crate::explain::{Type, Window};
use crate::stages::{InputFrom, Stage, StageInput, StageKind, StageOutput};
use crate::transform::Transform;
use crate::window::WindowedAggregate;

/// Version of the layout of everything that units store.
const LAYOUT: u32 = 1;
/// Version of what [`whole`] describes. It grows with whatever makes other texts of the same statements, such as another version
/// of DataFusion.
const PLANNER: u32 = 1;

/// The fingerprint of a stage that reads the `earlier` ones.
///
/// A keyed stage: its window, keys, aggregates, and all that its inputs do before. A stateless one keeps positions
/// only: what it reads and writes, so that a filter may change without reading anew.
pub(crate) fn of(stage: &Stage, earlier: &[Stage]) -> String {
    let mut text = format!("layout {LAYOUT}\n");
    for input in &stage.inputs {
        describe_input(&mut text, input, stage, earlier);
    }
    if let StageKind::Windowed(aggregate) = &stage.kind {
        describe_windows(&mut text, aggregate);
    }
    describe_output(&mut text, stage);
    format!("{:032x}", fnv1a(text.as_bytes()))
}

/// What a statement does, whatever its text looks like and whatever numbers its stages have: `VERSION-HASH`, of all of its plan.
pub fn whole(stages: &[Stage]) -> String {
    let mut text = String::new();
    for stage in stages {
        let _ = writeln!(text, "stage");
        for input in &stage.inputs {
            let _ = match &input.from {
                InputFrom::Source(name) => writeln!(text, "source {name}"),
                InputFrom::Stage(id) => writeln!(text, "from {:?}", stages.iter().position(|stage| stage.id == *id)),
            };
            let _ = writeln!(text, "columns {}", input.columns.join(", "));
            describe_steps(&mut text, &input.transform);
        }
        if let StageKind::Windowed(aggregate) = &stage.kind {
            describe_windows(&mut text, aggregate);
            describe_steps(&mut text, &aggregate.finish);
        }
        describe_output(&mut text, stage);
    }
    format!("{PLANNER}-{:032x}", fnv1a(text.as_bytes()))
}

fn describe_steps(text: &mut String, transform: &Transform) {
    transform.steps().iter().for_each(|step| {
        let _ = writeln!(text, "  {step}");
    });
}

fn describe_windows(text: &mut String, aggregate: &WindowedAggregate) {
    let _ = writeln!(text, "window {}", Window(&aggregate.window));
    let _ = writeln!(text, "keys {}", aggregate.key_count);
    for field in aggregate.input_schema.fields() {
        let _ = writeln!(text, "column {} {}", field.name(), Type(field.data_type()));
    }
    for (call, filter) in aggregate.aggregates.iter().zip(&aggregate.filters) {
        let args: Vec<String> = call.expressions().iter().map(ToString::to_string).collect();
        let filter = filter.as_ref().map(ToString::to_string).unwrap_or_default();
        let (name, distinct) = (call.fun().name(), call.is_distinct());
        let _ = writeln!(text, "aggregate {name} {distinct} ({}) {filter}", args.join(", "));
    }
}

fn describe_output(text: &mut String, stage: &Stage) {
    for field in stage.schema.fields() {
        let _ = writeln!(text, "output {} {}", field.name(), Type(field.data_type()));
    }
    if let StageOutput::Sink(sink) = &stage.output {
        let _ = writeln!(text, "sink {sink}");
    }
}

fn describe_input(text: &mut String, input: &StageInput, stage: &Stage, earlier: &[Stage]) {
    match &input.from {
        InputFrom::Source(name) => {
            let _ = writeln!(text, "source {name}");
        }
        InputFrom::Stage(id) => {
            let from = earlier.get(id.0 as usize);
            let _ = writeln!(text, "stage {}", from.map_or("", |from| from.fingerprint.as_str()));
            if let Some(StageKind::Windowed(aggregate)) = from.map(|from| &from.kind) {
                describe_steps(text, &aggregate.finish);
            }
        }
    }
    if matches!(stage.kind, StageKind::Windowed(_)) {
        let columns = input.columns.iter().zip(input.transform.input().fields());
        for (name, field) in columns {
            let _ = writeln!(text, "  column {name} {}", Type(field.data_type()));
        }
        describe_steps(text, &input.transform);
    }
}

/// FNV-1a of 128 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn fnv1a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
