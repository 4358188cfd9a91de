//! What output files are called. Pure.
//!
//! `PIPELINE-INCARNATION-STAGE-INDEX-SEQ[-cPART][-pENTRY.OFFSET].SUFFIX`: files of different units never share a name,
//! those of one unit sort as they were sealed, and the last one says where a direct unit goes on.

use std::fmt;

use thalweg_core::position::Position;
use thalweg_core::sink::{Label, WriterId};
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_crds::names::fit;

/// Whose output a file is, whoever owned the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriterName {
    /// `NAMESPACE.NAME` of the pipeline; a long one is cut, with a hash.
    pub(crate) pipeline: String,
    /// The start from scratch that it belongs to.
    pub(crate) incarnation: Incarnation,
    /// The unit.
    pub(crate) unit: UnitId,
}

/// The longest name of a pipeline within a file's: file systems take 255 bytes, and the numbers need some 130.
const LONGEST_PIPELINE: usize = 110;

impl From<&WriterId> for WriterName {
    fn from(id: &WriterId) -> Self {
        Self { pipeline: pipeline_name(&id.pipeline), incarnation: id.incarnation, unit: id.unit }
    }
}

/// `NAMESPACE.NAME` as names of files carry it.
pub(crate) fn pipeline_name(pipeline: &str) -> String {
    fit(pipeline, LONGEST_PIPELINE)
}

/// The name of one published file, without its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    /// Who wrote it.
    pub(crate) writer: WriterName,
    /// Which seal it is of, and the position that this one committed.
    pub(crate) label: Label,
    /// Which of the seal's files of its folder it is.
    pub(crate) part: u32,
}

impl FileName {
    /// The name with a suffix.
    pub(crate) fn with_suffix(&self, suffix: &str) -> String {
        format!("{self}.{suffix}")
    }

    /// Reads a name; `None` for any other file.
    pub(crate) fn parse(name: &str, suffix: &str) -> Option<Self> {
        let stem = name.strip_suffix(suffix)?.strip_suffix('.')?;
        let (stem, position) = match stem.rsplit_once("-p") {
            Some((stem, position)) if position.parse::<Position>().is_ok() => (stem, position.parse().ok()),
            _ => (stem, None),
        };
        let (stem, part) = match stem.rsplit_once("-c") {
            Some((stem, part)) if part.parse::<u32>().is_ok() => (stem, part.parse().ok()?),
            _ => (stem, 0),
        };
        let (stem, seq) = stem.rsplit_once('-')?;
        let writer = parse_writer(stem)?;
        let parsed = Self { writer, label: Label { seq: seq.parse().ok()?, position }, part };
        (parsed.with_suffix(suffix) == name).then_some(parsed)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:012}", writer_name(&self.writer), self.label.seq)?;
        if self.part > 0 {
            write!(f, "-c{}", self.part)?;
        }
        self.label.position.iter().try_for_each(|position| write!(f, "-p{position}"))
    }
}

/// The name of one object of output, without its folder: `WRITER-TOKEN-COUNT.SUFFIX`. It is chosen before its seal is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectName {
    /// Who wrote it.
    pub(crate) writer: WriterName,
    /// One life of that writer: three hexadecimal numbers with `x` between them.
    pub(crate) token: String,
    /// Which object of that life.
    pub(crate) count: u64,
}

impl ObjectName {
    /// The name with a suffix.
    pub(crate) fn with_suffix(&self, suffix: &str) -> String {
        format!("{}-{}-{:06}.{suffix}", writer_name(&self.writer), self.token, self.count)
    }

    /// Reads a name; `None` for any other object.
    pub(crate) fn parse(name: &str, suffix: &str) -> Option<Self> {
        let stem = name.strip_suffix(suffix)?.strip_suffix('.')?;
        let (stem, count) = stem.rsplit_once('-')?;
        let (stem, token) = stem.rsplit_once('-')?;
        let is_token = token.split('x').map(|number| u64::from_str_radix(number, 16).is_ok()).eq([true; 3]);
        let parsed = Self { writer: parse_writer(stem)?, token: token.to_owned(), count: count.parse().ok()? };
        (is_token && parsed.with_suffix(suffix) == name).then_some(parsed)
    }
}

/// `PIPELINE-INCARNATION-STAGE-INDEX`.
fn writer_name(writer: &WriterName) -> String {
    format!("{}-{}-{}", writer.pipeline, writer.incarnation, writer.unit)
}

fn parse_writer(text: &str) -> Option<WriterName> {
    let mut fields = text.rsplitn(4, '-');
    let (index, stage, incarnation) = (fields.next()?, fields.next()?, fields.next()?);
    let unit = UnitId { stage: StageId(stage.parse().ok()?), index: index.parse().ok()? };
    let incarnation = Incarnation(incarnation.parse().ok()?);
    Some(WriterName { pipeline: fields.next()?.to_owned(), incarnation, unit })
}

/// How far a file has come that nobody may see yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Staging {
    /// It is being written.
    Open,
    /// It is whole, and belongs to this seal.
    Sealed(u64),
    /// An empty mark: the files of this seal were published, wherever they are now.
    Published(u64),
}

/// The name of a file that nobody shall see: `.thalweg-STATE-WRITER-[SEQ-]TOKEN-COUNT`, where no two writers, living or
/// dead, share a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StagedName {
    /// How far it has come.
    pub(crate) staging: Staging,
    /// Whose it is.
    pub(crate) writer: WriterName,
    /// One life of that writer.
    pub(crate) token: String,
    /// Which file of that life.
    pub(crate) count: u64,
}

impl StagedName {
    /// Reads a name; `None` for any other file.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (state, rest) = name.strip_prefix(".thalweg-")?.split_once('-')?;
        let (rest, count) = rest.rsplit_once('-')?;
        let (rest, token) = rest.rsplit_once('-')?;
        let (staging, rest) = match state {
            "open" => (Staging::Open, rest),
            "sealed" | "published" => {
                let (rest, seq) = rest.rsplit_once('-')?;
                let seq = seq.parse().ok()?;
                (if state == "sealed" { Staging::Sealed(seq) } else { Staging::Published(seq) }, rest)
            }
            _ => return None,
        };
        let writer = parse_writer(rest)?;
        Some(Self { staging, writer, token: token.to_owned(), count: count.parse().ok()? })
    }
}

impl fmt::Display for StagedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writer = writer_name(&self.writer);
        match self.staging {
            Staging::Open => write!(f, ".thalweg-open-{writer}")?,
            Staging::Sealed(seq) => write!(f, ".thalweg-sealed-{writer}-{seq:012}")?,
            Staging::Published(seq) => write!(f, ".thalweg-published-{writer}-{seq:012}")?,
        }
        write!(f, "-{}-{}", self.token, self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::ownership::Owner;
    use thalweg_core::unit::RunId;

    use super::*;

    fn writers() -> impl Strategy<Value = WriterName> {
        ("[a-z0-9]{1,5}(-[a-z0-9]{1,3}){0,2}\\.[a-z0-9]{1,5}(-[cp0-9]{1,3}){0,3}", any::<u64>(), any::<[u32; 2]>())
            .prop_map(|(pipeline, incarnation, [stage, index])| WriterName {
                pipeline,
                incarnation: Incarnation(incarnation),
                unit: UnitId { stage: StageId(stage), index },
            })
    }

    fn names() -> impl Strategy<Value = FileName> {
        let position = proptest::option::of((any::<u64>(), any::<u128>()));
        (writers(), any::<u64>(), position, any::<u32>()).prop_map(|(writer, seq, position, part)| {
            let position = position.map(|(entry, offset)| Position { entry, offset });
            FileName { writer, label: Label { seq, position }, part }
        })
    }

    proptest! {
        #[test]
        fn a_name_gives_back_what_it_was_made_of(name in names(), suffix in "json|csv|parquet") {
            prop_assert_eq!(FileName::parse(&name.with_suffix(&suffix), &suffix), Some(name));
        }

        #[test]
        fn a_staged_name_does_too(
            writer in writers(), seq in any::<u64>(), state in 0usize..3, token in "[0-9a-f]{1,9}", count in any::<u64>()
        ) {
            let staging = [Staging::Open, Staging::Sealed(seq), Staging::Published(seq)][state];
            let name = StagedName { staging, writer, token, count };
            prop_assert_eq!(StagedName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn an_object_s_name_does_too(
            writer in writers(), token in "[0-9a-f]{12}x[0-9a-f]{1,8}x[0-9a-f]{1,8}", count in any::<u64>(),
            suffix in "json|csv|parquet"
        ) {
            let name = ObjectName { writer, token, count };
            prop_assert_eq!(ObjectName::parse(&name.with_suffix(&suffix), &suffix), Some(name));
        }

        #[test]
        fn names_of_one_unit_sort_by_seal(name in names(), a in 0u64..1_000_000_000_000, b in 0u64..1_000_000_000_000) {
            let at = |seq| FileName { label: Label { seq, position: None }, part: 0, ..name.clone() }.to_string();
            prop_assert_eq!(a.cmp(&b), at(a).cmp(&at(b)));
        }
    }

    #[test]
    fn a_long_name_of_a_pipeline_leaves_room_and_stays_apart() {
        let name = |last: char| {
            let unit = UnitId { stage: StageId(9), index: 4096 };
            let (pipeline, owner) = (format!("default.{}{last}", "p".repeat(252)), Owner::own(RunId("r".to_owned())));
            WriterName::from(&WriterId { pipeline, incarnation: Incarnation(1), unit, owner })
        };
        assert_ne!(name('a'), name('b'));
        let token = format!("{:x}x{:x}x{:x}", u64::MAX >> 16, u32::MAX, u32::MAX);
        let staged = StagedName { staging: Staging::Published(u64::MAX), writer: name('a'), token, count: u64::MAX };
        assert!(staged.to_string().len() <= 255, "{staged}");
        let label = Label { seq: u64::MAX, position: Some(Position { entry: 1 << 40, offset: 1 << 80 }) };
        let file = FileName { writer: name('a'), label, part: 4096 }.with_suffix("parquet");
        assert!(file.len() <= 255, "{file}");
        assert_eq!(FileName::parse(&file, "parquet").map(|file| file.writer), Some(name('a')));
    }

    #[test]
    fn other_files_are_no_output() {
        for name in ["trips.json", "a-1-0-0-1.json", "a-1-0-0-000000000001.csv", "-000000000001.json", ".thalweg-x"] {
            assert_eq!(FileName::parse(name, "json"), None, "{name}");
            assert_eq!(ObjectName::parse(name, "json"), None, "{name}");
            assert_eq!(StagedName::parse(name), None, "{name}");
        }
    }
}
