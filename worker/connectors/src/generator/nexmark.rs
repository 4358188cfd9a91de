//! Nexmark: persons, auctions and bids as 1 : 3 : 46, at 100,000 events a second of event time.
//!
//! Proportions, hot keys, prices and sizes follow the generator of Apache Beam's Nexmark suite (also that of the crate
//! `nexmark` 0.2); the random numbers, and so the records, are our own. Each kind is a stream of its own: record `n` of
//! a kind is the n-th event of that kind in the common sequence, so joins of the kinds find their partners.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::Generate;
use super::random::Random;
use super::text::{write_instant, write_unsigned};

/// Events of one round: first the persons, then the auctions, then the bids.
const ROUND: u64 = 50;
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = 46;

/// 2015-07-15T00:00:00Z, where Beam's generator starts.
const START_MILLIS: i64 = 1_436_918_400_000;
const EVENTS_PER_MILLI: u64 = 100;

const FIRST_AUCTION: u64 = 1000;
const FIRST_PERSON: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u32 = 5;
/// Auctions and persons that are active at a time, and how far ids may run ahead of what was created.
const AUCTIONS_IN_FLIGHT: u64 = 100;
const ACTIVE_PERSONS: u64 = 1000;
const IDS_AHEAD: u64 = 10;
/// Hot auctions, sellers and bidders are the first (bidders: the second) of so many.
const HOT_GROUP: u64 = 100;
/// A bid goes to a hot auction in 1 of 2 cases, comes from a hot bidder in 3 of 4; an auction is a hot seller's in 3 of
/// 4; a bid comes over a hot channel in 1 of 2.
const HOT_AUCTION_RATIO: u32 = 2;
const HOT_PERSON_RATIO: u32 = 4;
const HOT_CHANNEL_RATIO: u32 = 2;
const CHANNELS: u32 = 10_000;
/// Sizes on average, by the rule that a number counts as eight bytes.
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Streams of random numbers.
const EVENTS: u64 = 10;
const URLS: u64 = 11;

/// Which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NexmarkKind {
    /// `person(id, name, emailAddress, creditCard, city, state, dateTime, extra)`
    Person,
    /// `auction(id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra)`
    Auction,
    /// `bid(auction, bidder, price, channel, url, dateTime, extra)`
    #[default]
    Bid,
}

/// One kind of Nexmark's events.
#[derive(Clone, Debug)]
pub struct Nexmark {
    kind: NexmarkKind,
    seed: u64,
    schema: SchemaRef,
}

/// The value of one field.
enum Value<'a> {
    Number(u64),
    Instant(i64),
    /// ASCII without anything that JSON would escape.
    Text(&'a [u8]),
}

/// Takes the fields of one record in the order of the schema.
trait Visit {
    fn field(&mut self, name: &str, value: Value<'_>);
}

impl Nexmark {
    /// The events of one kind of a seed.
    pub fn new(kind: NexmarkKind, seed: u64) -> Self {
        Self { kind, seed, schema: schema(kind) }
    }

    /// The place of record `row` in the common sequence of events.
    fn event(&self, row: u64) -> u64 {
        match self.kind {
            NexmarkKind::Person => row * ROUND,
            NexmarkKind::Auction => row / AUCTIONS * ROUND + PERSONS + row % AUCTIONS,
            NexmarkKind::Bid => row / BIDS * ROUND + PERSONS + AUCTIONS + row % BIDS,
        }
    }

    fn visit(&self, row: u64, scratch: &mut Vec<u8>, to: &mut impl Visit) {
        let event = self.event(row);
        let random = Random::of(self.seed, EVENTS, event);
        scratch.clear();
        match self.kind {
            NexmarkKind::Person => visit_person(event, random, scratch, to),
            NexmarkKind::Auction => visit_auction(event, random, scratch, to),
            NexmarkKind::Bid => self.visit_bid(event, random, scratch, to),
        }
    }

    fn visit_bid(&self, event: u64, mut random: Random, scratch: &mut Vec<u8>, to: &mut impl Visit) {
        let auction = if random.below(HOT_AUCTION_RATIO) > 0 {
            last_auction(event) / HOT_GROUP * HOT_GROUP
        } else {
            some_auction(event, &mut random)
        };
        let bidder = if random.below(HOT_PERSON_RATIO) > 0 {
            last_person(event) / HOT_GROUP * HOT_GROUP + 1
        } else {
            some_person(event, &mut random)
        };
        let price = price(&mut random);
        let channel_end = self.write_channel(&mut random, scratch);
        let url_end = scratch.len();
        write_extra(&mut random, 32, BID_BYTES, scratch);
        to.field("auction", Value::Number(FIRST_AUCTION + auction));
        to.field("bidder", Value::Number(FIRST_PERSON + bidder));
        to.field("price", Value::Number(price));
        to.field("channel", Value::Text(&scratch[..channel_end]));
        to.field("url", Value::Text(&scratch[channel_end..url_end]));
        to.field("dateTime", Value::Instant(instant(event)));
        to.field("extra", Value::Text(&scratch[url_end..]));
    }

    /// Writes a channel's name and its URL, the same one for the same channel; gives the end of the name.
    fn write_channel(&self, random: &mut Random, scratch: &mut Vec<u8>) -> usize {
        let hot = random.below(HOT_CHANNEL_RATIO) > 0;
        let number = u64::from(random.below(if hot { HOT_CHANNELS.len() as u32 } else { CHANNELS }));
        if hot {
            scratch.extend_from_slice(HOT_CHANNELS[number as usize].as_bytes());
        } else {
            scratch.extend_from_slice(b"channel-");
            write_unsigned(number, scratch);
        }
        let name_end = scratch.len();
        let mut of_channel = Random::of(self.seed, URLS, number);
        scratch.extend_from_slice(b"https://www.nexmark.com");
        for _ in 0..3 {
            scratch.push(b'/');
            let length = 3 + of_channel.below(2) as usize;
            of_channel.letters(length, scratch);
        }
        scratch.extend_from_slice(b"/item.htm?query=1");
        if !hot && of_channel.below(10) > 0 {
            scratch.extend_from_slice(b"&channel_id=");
            write_unsigned(number << 17, scratch);
        }
        name_end
    }
}

fn visit_person(event: u64, mut random: Random, scratch: &mut Vec<u8>, to: &mut impl Visit) {
    scratch.extend_from_slice(random.choose(&FIRST_NAMES).as_bytes());
    scratch.push(b' ');
    scratch.extend_from_slice(random.choose(&LAST_NAMES).as_bytes());
    let name_end = scratch.len();
    random.letters(7, scratch);
    scratch.push(b'@');
    random.letters(5, scratch);
    scratch.extend_from_slice(b".com");
    let email_end = scratch.len();
    for group in 0..4 {
        if group > 0 {
            scratch.push(b' ');
        }
        write_unsigned(u64::from(1_000 + random.below(9_000)), scratch);
    }
    let card_end = scratch.len();
    let (city, state) = (random.choose(&CITIES), random.choose(&STATES));
    write_extra(&mut random, 8 + card_end + city.len() + state.len(), PERSON_BYTES, scratch);
    to.field("id", Value::Number(FIRST_PERSON + last_person(event)));
    to.field("name", Value::Text(&scratch[..name_end]));
    to.field("emailAddress", Value::Text(&scratch[name_end..email_end]));
    to.field("creditCard", Value::Text(&scratch[email_end..card_end]));
    to.field("city", Value::Text(city.as_bytes()));
    to.field("state", Value::Text(state.as_bytes()));
    to.field("dateTime", Value::Instant(instant(event)));
    to.field("extra", Value::Text(&scratch[card_end..]));
}

fn visit_auction(event: u64, mut random: Random, scratch: &mut Vec<u8>, to: &mut impl Visit) {
    random.letters(20, scratch);
    random.letters(100, scratch);
    let initial_bid = price(&mut random);
    let reserve = initial_bid + price(&mut random);
    // So long that about `AUCTIONS_IN_FLIGHT` are open at a time.
    let horizon_millis = AUCTIONS_IN_FLIGHT * ROUND / AUCTIONS / EVENTS_PER_MILLI;
    let expires = instant(event) + 1 + i64::from(random.below(2 * horizon_millis as u32));
    let seller = if random.below(HOT_PERSON_RATIO) > 0 {
        last_person(event) / HOT_GROUP * HOT_GROUP
    } else {
        some_person(event, &mut random)
    };
    let category = FIRST_CATEGORY + u64::from(random.below(CATEGORIES));
    write_extra(&mut random, 48 + 120, AUCTION_BYTES, scratch);
    to.field("id", Value::Number(FIRST_AUCTION + last_auction(event)));
    to.field("itemName", Value::Text(&scratch[..20]));
    to.field("description", Value::Text(&scratch[20..120]));
    to.field("initialBid", Value::Number(initial_bid));
    to.field("reserve", Value::Number(reserve));
    to.field("dateTime", Value::Instant(instant(event)));
    to.field("expires", Value::Instant(expires));
    to.field("seller", Value::Number(FIRST_PERSON + seller));
    to.field("category", Value::Number(category));
    to.field("extra", Value::Text(&scratch[120..]));
}

fn instant(event: u64) -> i64 {
    START_MILLIS + (event / EVENTS_PER_MILLI).cast_signed()
}

/// The person created last at an event, counted from 0.
fn last_person(event: u64) -> u64 {
    // Each round starts with its one person.
    event / ROUND
}

/// The auction created last at an event, counted from 0; before the first one, the first.
fn last_auction(event: u64) -> u64 {
    let (round, place) = (event / ROUND, event % ROUND);
    match place.checked_sub(PERSONS) {
        None => (round * AUCTIONS).saturating_sub(1),
        Some(place) => round * AUCTIONS + place.min(AUCTIONS - 1),
    }
}

fn some_auction(event: u64, random: &mut Random) -> u64 {
    let last = last_auction(event);
    let first = last.saturating_sub(AUCTIONS_IN_FLIGHT);
    first + u64::from(random.below((last - first + 1 + IDS_AHEAD) as u32))
}

fn some_person(event: u64, random: &mut Random) -> u64 {
    let persons = last_person(event) + 1;
    let active = persons.min(ACTIVE_PERSONS);
    persons - active + u64::from(random.below((active + IDS_AHEAD) as u32))
}

/// Cents from 100 to 100 million, by a uniform exponent.
fn price(random: &mut Random) -> u64 {
    (10f64.powf(random.unit() * 6.0) * 100.0).round() as u64
}

/// Letters that bring a record to its size, give or take a fifth.
fn write_extra(random: &mut Random, so_far: usize, wanted: usize, scratch: &mut Vec<u8>) {
    let missing = wanted.saturating_sub(so_far);
    let spread = (missing + 2) / 5;
    let count = missing - spread + random.below(2 * spread as u32 + 1) as usize;
    random.letters(count, scratch);
}

/// Writes fields as one JSON object.
struct Json<'a> {
    out: &'a mut Vec<u8>,
    opened: bool,
}

impl Visit for Json<'_> {
    fn field(&mut self, name: &str, value: Value<'_>) {
        let open: &[u8] = if self.opened { br#",""# } else { br#"{""# };
        self.opened = true;
        self.out.extend_from_slice(open);
        self.out.extend_from_slice(name.as_bytes());
        match value {
            Value::Number(number) => {
                self.out.extend_from_slice(br#"":"#);
                write_unsigned(number, self.out);
            }
            Value::Instant(millis) => {
                self.out.extend_from_slice(br#"":""#);
                write_instant(millis, self.out);
                self.out.push(b'"');
            }
            Value::Text(text) => {
                self.out.extend_from_slice(br#"":""#);
                self.out.extend_from_slice(text);
                self.out.push(b'"');
            }
        }
    }
}

/// Collects fields as columns.
enum Column {
    Numbers(Vec<i64>),
    Instants(Vec<i64>),
    Texts(Vec<String>),
}

struct Columns {
    columns: Vec<Column>,
    next: usize,
}

impl Columns {
    fn of(schema: &Schema, capacity: usize) -> Self {
        let column = |field: &Arc<Field>| match field.data_type() {
            DataType::Int64 => Column::Numbers(Vec::with_capacity(capacity)),
            DataType::Utf8 => Column::Texts(Vec::with_capacity(capacity)),
            _ => Column::Instants(Vec::with_capacity(capacity)),
        };
        Self { columns: schema.fields().iter().map(column).collect(), next: 0 }
    }

    fn finish(self) -> Vec<ArrayRef> {
        let array = |column| -> ArrayRef {
            match column {
                Column::Numbers(values) => Arc::new(Int64Array::from(values)),
                Column::Instants(values) => Arc::new(TimestampMillisecondArray::from(values)),
                Column::Texts(values) => Arc::new(StringArray::from(values)),
            }
        };
        self.columns.into_iter().map(array).collect()
    }
}

impl Visit for Columns {
    fn field(&mut self, _name: &str, value: Value<'_>) {
        match (&mut self.columns[self.next], value) {
            (Column::Numbers(values), Value::Number(number)) => values.push(number.cast_signed()),
            (Column::Instants(values), Value::Instant(millis)) => values.push(millis),
            (Column::Texts(values), Value::Text(text)) => values.push(String::from_utf8_lossy(text).into_owned()),
            _ => unreachable!("fields come in the order and the types of the schema"),
        }
        self.next = (self.next + 1) % self.columns.len();
    }
}

impl Generate for Nexmark {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn write_json(&self, row: u64, out: &mut Vec<u8>) {
        // Longer than any record's text fields together.
        let mut scratch = Vec::with_capacity(512);
        self.visit(row, &mut scratch, &mut Json { out, opened: false });
        out.extend_from_slice(b"}\n");
    }

    fn batch(&self, from: u64, count: usize) -> RecordBatch {
        let mut columns = Columns::of(&self.schema, count);
        let mut scratch = Vec::with_capacity(512);
        for row in from..from + count as u64 {
            self.visit(row, &mut scratch, &mut columns);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns.finish()).expect("the columns are those of the schema")
    }
}

fn schema(kind: NexmarkKind) -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), false);
    Arc::new(Schema::new(match kind {
        NexmarkKind::Person => vec![
            number("id"),
            text("name"),
            text("emailAddress"),
            text("creditCard"),
            text("city"),
            text("state"),
            time("dateTime"),
            text("extra"),
        ],
        NexmarkKind::Auction => vec![
            number("id"),
            text("itemName"),
            text("description"),
            number("initialBid"),
            number("reserve"),
            time("dateTime"),
            time("expires"),
            number("seller"),
            number("category"),
            text("extra"),
        ],
        NexmarkKind::Bid => vec![
            number("auction"),
            number("bidder"),
            number("price"),
            text("channel"),
            text("url"),
            time("dateTime"),
            text("extra"),
        ],
    }))
}

#[cfg(test)]
mod tests;
