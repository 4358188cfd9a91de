//! What output files are called. Pure.
//!
//! `PIPELINE-INCARNATION-STAGE-INDEX-SEQ[-cPART][-pENTRY.OFFSET].SUFFIX`: files of different units never share a name,
//! those of one unit sort as they were sealed, and the last one says where a direct unit goes on.

use std::fmt;

use thalweg_core::position::Position;
use thalweg_core::sink::{Label, WriterId};
use thalweg_core::unit::{Incarnation, StageId, UnitId};

/// Whose output a file is, whoever owned the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriterName {
    /// `NAMESPACE.NAME` of the pipeline.
    pub(crate) pipeline: String,
    /// The start from scratch that it belongs to.
    pub(crate) incarnation: Incarnation,
    /// The unit.
    pub(crate) unit: UnitId,
}

impl From<&WriterId> for WriterName {
    fn from(id: &WriterId) -> Self {
        Self { pipeline: id.pipeline.clone(), incarnation: id.incarnation, unit: id.unit }
    }
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

/// `PIPELINE-INCARNATION-STAGE-INDEX`.
pub(crate) fn writer_name(writer: &WriterName) -> String {
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
}

/// The name of a file that is not published yet: `.thalweg-STATE-WRITER-[SEQ-]TOKEN-COUNT`, where no two writers, living
/// or dead, share a token.
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
            "sealed" => {
                let (rest, seq) = rest.rsplit_once('-')?;
                (Staging::Sealed(seq.parse().ok()?), rest)
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
            Staging::Open => write!(f, ".thalweg-open-{writer}-{}-{}", self.token, self.count),
            Staging::Sealed(seq) => write!(f, ".thalweg-sealed-{writer}-{seq:012}-{}-{}", self.token, self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            writer in writers(), seq in proptest::option::of(any::<u64>()), token in "[0-9a-f]{1,9}", count in any::<u64>()
        ) {
            let staging = seq.map_or(Staging::Open, Staging::Sealed);
            let name = StagedName { staging, writer, token, count };
            prop_assert_eq!(StagedName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn names_of_one_unit_sort_by_seal(name in names(), a in 0u64..1_000_000_000_000, b in 0u64..1_000_000_000_000) {
            let at = |seq| FileName { label: Label { seq, position: None }, part: 0, ..name.clone() }.to_string();
            prop_assert_eq!(a.cmp(&b), at(a).cmp(&at(b)));
        }
    }

    #[test]
    fn other_files_are_no_output() {
        for name in ["trips.json", "a-1-0-0-1.json", "a-1-0-0-000000000001.csv", "-000000000001.json", ".thalweg-x"] {
            assert_eq!(FileName::parse(name, "json"), None, "{name}");
            assert_eq!(StagedName::parse(name), None, "{name}");
        }
    }
}
