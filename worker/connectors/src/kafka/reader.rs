//! One partition as a split: chunks of committed records, and what silence means.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::Result;
use thalweg_core::position::Position;
use thalweg_core::source::{Given, Payload, Piece, RawChunk, Read, Records, SplitReader};

use super::client::{ClientError, PartitionReader, Polled, Result as ClientResult, Wanted};
use super::patience::told;
use super::portion::Portion;
use super::source::{Shared, entry_of};
use super::watchdog::{Follows, Said, Seen, Verdict, follows, is_gone, judge};
use crate::outage::Waiting;

/// How long one call waits for records.
const WAIT: Duration = Duration::from_millis(500);
/// Silence that is looked into. At a log's end the broker itself says that there is nothing.
const SILENCE: Duration = Duration::from_secs(5);

/// A batch that cannot be read so often in a row is lost.
const CORRUPT: u32 = 5;

/// Reads one partition.
pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    topic_id: u128,
    partition: u32,
    piece: Piece,
    reader: Option<Box<dyn PartitionReader>>,
    /// How much it fetches.
    portion: Portion,
    /// What was read and not handed on: it was not judged yet, or lies behind a cut.
    held: Option<Polled>,
    /// The last record that was read.
    seen: Option<Seen>,
    /// That the log was cut, to this end where it is told, and it is not judged yet.
    cut: Option<Option<u64>>,
    next: u64,
    /// Whether nobody has read the log before, so that it is to be said where it begins.
    begins: bool,
    read: u64,
    silent_since: Option<Duration>,
    waiting: Waiting<u32>,
    /// How often in a row a batch could not be read.
    corrupt: u32,
}

impl KafkaReader {
    /// A reader from an offset on that the log holds.
    pub(super) fn new(
        shared: Arc<Shared>,
        topic_id: u128,
        partition: u32,
        next: u64,
        piece: Piece,
        waiting: Waiting<u32>,
    ) -> Self {
        let (reader, held, cut, silent_since) = (None, None, None, None);
        // Offsets run over what readers are not shown, so that one may begin behind the last record.
        let seen = shared.logs.seen(partition).filter(|seen| seen.next <= next);
        let portion = Portion::new(&shared.memory, shared.config.connection.fetching.partition_bytes);
        Self {
            shared,
            topic_id,
            partition,
            piece,
            reader,
            portion,
            held,
            seen,
            cut,
            next,
            begins: false,
            read: 0,
            silent_since,
            waiting,
            corrupt: 0,
        }
    }

    /// The same for whoever has no position in the log: the first chunk has no record, and gives them one.
    pub(super) fn beginning(self) -> Self {
        Self { begins: true, ..self }
    }

    /// Has something in `held`, which says what was read. It stays there where a call is dropped.
    async fn fetch(&mut self) -> ClientResult<()> {
        if let Some(end) = self.cut {
            return Err(ClientError::Cut(end));
        }
        if self.held.is_none() {
            let polled = self.poll().await?;
            self.held = Some(polled);
        }
        self.judge_held().await
    }

    async fn poll(&mut self) -> ClientResult<Polled> {
        if self.portion.is_off() {
            self.reader = None;
        }
        if self.reader.is_none() {
            let cluster = self.shared.cluster().await.map_err(|error| ClientError::Away(error.to_string()))?;
            // The library knows nothing of what another one of it has read.
            self.check_seen().await?;
            let config = &self.shared.config;
            let wanted = Wanted { fetch_bytes: Some(self.portion.open()), ..config.wanted };
            self.reader = Some(cluster.reader(&config.topic, self.partition, self.next, wanted).await?);
        }
        let Some(reader) = &mut self.reader else { return Ok(Polled { next: self.next, ..Polled::default() }) };
        let polled = reader.poll(WAIT).await?;
        self.portion.took(&polled.records, polled.ahead);
        Ok(polled)
    }

    /// Whether the log that the held records are of is the one that was read before, once.
    async fn judge_held(&mut self) -> ClientResult<()> {
        let found = self.held.as_ref().and_then(|held| held.epochs.zip(held.records.offsets.last().copied()));
        let Some((epochs, last)) = found else { return Ok(()) };
        match follows(self.seen, epochs) {
            Follows::Surely if self.seen.is_some() => {}
            Follows::Never => return Err(ClientError::Cut(None)),
            // Who begins before the place where others are knows nothing itself.
            Follows::Surely | Follows::Ask => {
                self.check_seen().await?;
            }
        }
        let seen = Seen { epoch: epochs.last, next: last + 1 };
        self.seen = Some(seen);
        self.shared.logs.saw(self.partition, seen);
        if let Some(held) = &mut self.held {
            held.epochs = None;
        }
        Ok(())
    }

    /// Whether the log surely holds the last record that any reader of the partition has got: whoever leads says so. Where it
    /// says the contrary, the log was cut.
    async fn check_seen(&self) -> ClientResult<bool> {
        let Some(seen) = self.shared.logs.seen(self.partition) else { return Ok(false) };
        let cluster = self.shared.cluster().await.map_err(|error| ClientError::Away(error.to_string()))?;
        match cluster.epoch_end(&self.shared.config.topic, self.partition, seen.epoch).await? {
            Some(end) if is_gone(seen, end) => Err(ClientError::Cut(Some(end.end))),
            end => Ok(end.is_some()),
        }
    }

    /// What follows where nothing could be read.
    async fn failed(&mut self, error: ClientError) -> Result<()> {
        match error {
            ClientError::Corrupt(detail) => self.is_corrupt(detail).await,
            ClientError::Cut(end) => self.is_cut(end).await,
            error @ (ClientError::Denied(_) | ClientError::Refused(_) | ClientError::Forbidden(_)) => {
                let what = format!("reading topic `{}`, partition {}", self.shared.config.topic, self.partition);
                Err(told(&what, &error))
            }
            error => self.look(Some(error)).await,
        }
    }

    /// What was read is in the log no more. A topic that was deleted, or made again, looks the same, and is told as what it is:
    /// so it is judged once somebody answers.
    async fn is_cut(&mut self, end: Option<u64>) -> Result<()> {
        (self.cut, self.reader) = (Some(end), None);
        let since = self.shared.clock.monotonic();
        let (verdict, is_whole) = match self.ask_of_cut().await {
            Ok(said) => said,
            Err(error) => return self.unanswered(since, error).await,
        };
        self.shared.is_back();
        self.waiting.answered();
        match verdict {
            Verdict::Another => Err(self.shared.another()),
            Verdict::Gone => {
                tokio::time::sleep(WAIT).await;
                Ok(())
            }
            // Whoever leads has what the library says is gone.
            Verdict::Wait | Verdict::Stalled if is_whole && self.was_seen(end) => {
                tracing::debug!("{} is read anew: its log is whole", self.shared.place(self.partition));
                self.cut = None;
                tokio::time::sleep(WAIT).await;
                Ok(())
            }
            _ => Err(self.shared.cut(self.partition, self.next, end)),
        }
    }

    /// What the cluster says of a log that seems to have been cut, and whether it surely holds what was read.
    async fn ask_of_cut(&self) -> ClientResult<(Verdict, bool)> {
        let verdict = judge(self.ask().await?, self.topic_id, self.next);
        if matches!(verdict, Verdict::Another | Verdict::Gone) {
            return Ok((verdict, false));
        }
        match self.check_seen().await {
            Ok(is_whole) => Ok((verdict, is_whole)),
            Err(ClientError::Cut(_)) => Ok((verdict, false)),
            Err(error) => Err(error),
        }
    }

    /// Whether a record that was read would be gone, were the log cut to there.
    fn was_seen(&self, end: Option<u64>) -> bool {
        let seen = self.shared.logs.seen(self.partition);
        end.zip(seen).is_some_and(|(end, seen)| end < seen.next)
    }

    /// What is asked is asked again in a while, where nobody answers.
    async fn unanswered(&self, since: Duration, error: ClientError) -> Result<()> {
        match error {
            ClientError::Away(_) | ClientError::NoTopic => {
                self.shared.is_away(&error);
                self.waiting.unanswered(since, &error);
                tokio::time::sleep(WAIT).await;
                Ok(())
            }
            error => Err(told(&format!("reading topic `{}`", self.shared.config.topic), &error)),
        }
    }

    /// What was read up to `until`; the rest is held.
    fn chunk(&mut self, mut polled: Polled, until: Option<u64>) -> RawChunk<Given> {
        let mut to = polled.next;
        if let Some(until) = until.filter(|until| *until < to) {
            let cut = polled.records.offsets.partition_point(|offset| *offset < until);
            let rest = split_off(&mut polled.records, cut);
            self.held = Some(Polled { records: rest, ..polled });
            to = until;
        }
        let from = std::mem::replace(&mut self.next, to);
        self.read += polled.records.offsets.len() as u64;
        self.hears();
        self.corrupt = 0;
        let at = |offset| Position::within(entry_of(self.topic_id), offset);
        let bad = too_long(&mut polled.records, self.shared.config.most_bytes, at);
        RawChunk {
            from: at(from),
            to: at(to),
            piece: self.piece.clone(),
            payload: Payload::Records(Box::new(polled.records)).into(),
            bad,
        }
    }

    /// Somebody answers.
    fn hears(&mut self) {
        self.silent_since = None;
        self.waiting.answered();
    }

    /// A batch that cannot be read is asked for again: the network may have done it, or another broker leads meanwhile.
    async fn is_corrupt(&mut self, detail: String) -> Result<()> {
        self.corrupt += 1;
        if self.corrupt >= CORRUPT {
            return Err(self.shared.corrupt(self.partition, self.next, &detail));
        }
        tracing::warn!("{}: {detail}; asking again", self.shared.place(self.partition));
        self.reader = None;
        tokio::time::sleep(WAIT).await;
        Ok(())
    }

    /// Looks into a silence that has lasted.
    async fn look(&mut self, error: Option<ClientError>) -> Result<()> {
        let now = self.shared.clock.monotonic();
        let since = *self.silent_since.get_or_insert(now);
        let told_now = matches!(error, Some(ClientError::OutOfRange | ClientError::NoTopic));
        if now - since < SILENCE && !told_now {
            if error.is_some() {
                self.reader = None;
                tokio::time::sleep(WAIT).await;
            }
            return Ok(());
        }
        self.silent_since = None;
        let said = match self.ask().await {
            Ok(said) => said,
            Err(error) => return self.unanswered(since, error).await,
        };
        self.shared.is_back();
        self.waiting.answered();
        match judge(said, self.topic_id, self.next) {
            Verdict::Wait => Ok(()),
            Verdict::Stalled => {
                tracing::debug!("partition {} of `{}` is read anew", self.partition, self.shared.config.topic);
                self.reader = None;
                Ok(())
            }
            // Splits are listed all the time, and who lists them sees whether a topic is gone for good.
            Verdict::Gone => {
                self.reader = None;
                tokio::time::sleep(WAIT).await;
                Ok(())
            }
            Verdict::Another => Err(self.shared.another()),
            Verdict::Overtaken(bounds) | Verdict::Cut(bounds) => self.shared.check(self.partition, self.next, bounds),
        }
    }

    async fn ask(&self) -> ClientResult<Said> {
        let cluster = self.shared.cluster().await.map_err(|error| ClientError::Away(error.to_string()))?;
        let name = &self.shared.config.topic;
        let topic = cluster.topic(name).await?;
        let bounds = match cluster.bounds(name, self.partition).await {
            Ok(bounds) => Some(bounds),
            Err(ClientError::NoTopic) => None,
            Err(error) => return Err(error),
        };
        Ok(Said { topic, bounds })
    }
}

#[async_trait]
impl SplitReader for KafkaReader {
    async fn read(&mut self, until: Option<Position>) -> Result<Read> {
        let until = until.map(|until| u64::try_from(until.offset).unwrap_or(u64::MAX));
        if std::mem::take(&mut self.begins) {
            let polled = Polled { next: self.next, ..Polled::default() };
            return Ok(Read::Chunk(self.chunk(polled, None)));
        }
        loop {
            if until.is_some_and(|until| until <= self.next) {
                let polled = Polled { next: self.next, ..Polled::default() };
                return Ok(Read::Chunk(self.chunk(polled, None)));
            }
            if let Err(error) = self.fetch().await {
                self.failed(error).await?;
                continue;
            }
            // Another reader may have found it meanwhile, which knows more.
            self.shared.check_uncut(self.partition)?;
            match self.held.take() {
                Some(polled) if polled.next > self.next => return Ok(Read::Chunk(self.chunk(polled, until))),
                Some(polled) if polled.at_end => {
                    self.hears();
                    self.shared.is_back();
                    return Ok(Read::CaughtUp);
                }
                _ => self.look(None).await?,
            }
        }
    }

    fn progress(&self) -> u64 {
        self.read
    }
}

/// Takes the records from `cut` on.
fn split_off(records: &mut Records, cut: usize) -> Records {
    fn rest<T>(column: &mut Vec<T>, cut: usize) -> Vec<T> {
        column.split_off(cut.min(column.len()))
    }
    Records {
        partition: records.partition,
        values: rest(&mut records.values, cut),
        offsets: rest(&mut records.offsets, cut),
        timestamps: rest(&mut records.timestamps, cut),
        // The others' are not kept where nobody reads them.
        first_timestamp: records.first_timestamp,
        keys: rest(&mut records.keys, cut),
        headers: rest(&mut records.headers, cut),
    }
}

/// Takes records out that are longer than they may be.
fn too_long(records: &mut Records, most: usize, at: impl Fn(u64) -> Position) -> Vec<BadRecord> {
    let is_long = |value: &Option<bytes::Bytes>| value.as_ref().is_some_and(|value| value.len() > most);
    if !records.values.iter().any(is_long) {
        return Vec::new();
    }
    let mut bad = Vec::new();
    let keep: Vec<bool> = records.values.iter().map(|value| !is_long(value)).collect();
    for (record, value) in records.values.iter().enumerate().filter(|(_, value)| is_long(value)) {
        let value = value.clone().unwrap_or_default();
        bad.push(BadRecord {
            position: at(records.offsets.get(record).copied().unwrap_or_default()),
            class: BadClass::Decode,
            message: format!("expected at most {most} bytes (maxRecordBytes), found {}", value.len()),
            column: None,
            raw: value.slice(..value.len().min(BadRecord::MAX_RAW)),
            record_time: records.timestamps.get(record).copied(),
        });
    }
    retain(&mut records.values, &keep);
    retain(&mut records.offsets, &keep);
    retain(&mut records.timestamps, &keep);
    retain(&mut records.keys, &keep);
    retain(&mut records.headers, &keep);
    bad
}

fn retain<T>(column: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    column.retain(|_| keep.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn records(offsets: &[u64]) -> Records {
        let value = |offset: &u64| Some(Bytes::from("x".repeat(*offset as usize)));
        Records { values: offsets.iter().map(value).collect(), offsets: offsets.to_vec(), ..Records::default() }
    }

    #[test]
    fn a_record_that_is_too_long_is_a_bad_one_and_costs_no_other() {
        let mut all = records(&[1, 9, 2]);
        let bad = too_long(&mut all, 5, Position::at);
        assert_eq!((all.offsets, all.values.len()), (vec![1, 2], 2));
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].position, Position::at(9));
        assert_eq!(bad[0].message, "expected at most 5 bytes (maxRecordBytes), found 9");
    }

    #[test]
    fn what_lies_behind_a_cut_is_kept_apart() {
        let mut all = Records { first_timestamp: Some(5), ..records(&[1, 3, 7]) };
        let rest = split_off(&mut all, 2);
        assert_eq!((all.first_timestamp, rest.first_timestamp), (Some(5), Some(5)), "it is no older");
        assert_eq!((all.offsets, rest.offsets), (vec![1, 3], vec![7]));
    }
}
