//! Taxi trips with the fields of the public trip records; none of them took place.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use thalweg_core::error::Result;

use super::Generate;
use super::config::TaxiConfig;
use super::random::Random;
use super::text::{write_hundredths, write_instant, write_millionths, write_unsigned};

mod places;

use places::{Places, places};

/// Location ids run from 1 to this.
pub const ZONES: u32 = 265;
/// Trip ids of the public records come from a job whose second partition starts here.
const FIRST_TRIP_ID: u64 = 1 << 33;
/// How far back a trip that repeats another reaches.
const REPEATS_WITHIN: u32 = 64;
/// How often a repeated trip may itself be a repeated one before it counts as the original.
const REPEATS_DEEP: usize = 16;
/// Late trips come between these many milliseconds after their time, by a uniform exponent.
const LATE_MILLIS: (f64, f64) = (60_000.0, 21_600_000.0);

/// Streams of random numbers: what a trip holds must not depend on which rates are set.
const FIELDS: u64 = 1;
const LATE: u64 = 2;
const REPEATED: u64 = 3;
const BROKEN: u64 = 4;
const PLACES: u64 = 5;

/// Taxi trips.
#[derive(Clone, Debug)]
pub struct TaxiTrips {
    config: TaxiConfig,
    seed: u64,
    schema: SchemaRef,
}

/// One trip; money and miles in hundredths.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trip {
    vendor_id: u32,
    pickup_millis: i64,
    dropoff_millis: i64,
    passenger_count: u32,
    trip_distance: u64,
    ratecode_id: u32,
    store_and_fwd: bool,
    pickup_location_id: u32,
    dropoff_location_id: u32,
    payment_type: u32,
    fare_amount: u64,
    extra: u64,
    mta_tax: u64,
    tip_amount: u64,
    tolls_amount: u64,
    improvement_surcharge: u64,
    trip_id: u64,
    /// Where it began and ended, in the records of older years.
    places: Option<Places>,
}

impl Trip {
    fn total_amount(&self) -> u64 {
        let taxes = self.extra + self.mta_tax + self.improvement_surcharge;
        self.fare_amount + taxes + self.tip_amount + self.tolls_amount
    }

    fn store_and_fwd_flag(&self) -> &'static str {
        if self.store_and_fwd { "Y" } else { "N" }
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The line ends in the middle.
    CutOff,
    /// It is no JSON at all.
    Garbage,
    /// A location id, or a latitude, is an object.
    WrongType,
    /// There is no pickup time, the watermark's column.
    NoPickupTime,
}

impl TaxiTrips {
    /// Trips of a seed.
    ///
    /// # Errors
    /// `User` where a setting is out of range.
    pub fn new(config: TaxiConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        let schema = schema(config.coordinates);
        Ok(Self { config, seed, schema })
    }

    /// Whether line `row` is broken on purpose.
    pub fn is_broken(&self, row: u64) -> bool {
        self.fault(row).is_some()
    }

    /// Whether line `row` holds a trip that comes after its time: more than a minute behind others on time.
    pub fn is_late(&self, row: u64) -> bool {
        self.delay_millis(self.original(row)) > 0
    }

    /// The number of the record that line `row` repeats, or its own.
    pub fn original(&self, row: u64) -> u64 {
        let mut original = row;
        for _ in 0..REPEATS_DEEP {
            let mut random = Random::of(self.seed, REPEATED, original);
            if original == 0 || !random.happens(self.config.duplicate_rate) {
                break;
            }
            original = original.saturating_sub(1 + u64::from(random.below(REPEATS_WITHIN)));
        }
        original
    }

    fn fault(&self, row: u64) -> Option<Fault> {
        let mut random = Random::of(self.seed, BROKEN, row);
        let faults = [Fault::CutOff, Fault::Garbage, Fault::WrongType, Fault::NoPickupTime];
        random.happens(self.config.broken_rate).then(|| faults[random.below(4) as usize])
    }

    fn delay_millis(&self, row: u64) -> i64 {
        let mut random = Random::of(self.seed, LATE, row);
        if !random.happens(self.config.late_rate) {
            return 0;
        }
        let (least, most) = LATE_MILLIS;
        (least * (most / least).powf(random.unit())) as i64
    }

    fn zone(&self, random: &mut Random) -> u32 {
        match self.config.hot_zone {
            Some(hot) if random.next().is_multiple_of(2) => u32::from(hot),
            _ => 1 + random.below(ZONES),
        }
    }

    fn trip(&self, row: u64) -> Trip {
        let random = &mut Random::of(self.seed, FIELDS, row);
        let on_time = self.config.start_millis + millis_at(row, self.config.events_per_second);
        let disorder = i64::from(random.below(self.config.disorder_millis.saturating_add(1)));
        let pickup_millis = on_time - disorder - self.delay_millis(row);
        let trip_distance = 30 + u64::from(random.below(40)) * u64::from(random.below(40));
        let minutes_a_mile = 3 + i64::from(random.below(5));
        let seconds = 90 + trip_distance.cast_signed() * minutes_a_mile * 60 / 100 + i64::from(random.below(60));
        let fare_amount = (250 + trip_distance * 2 + seconds.unsigned_abs() / 2) / 50 * 50;
        let by_card = random.below(10) < 7;
        Trip {
            vendor_id: 1 + random.below(2),
            pickup_millis,
            dropoff_millis: pickup_millis + seconds * 1000,
            passenger_count: 1 + random.below(6) * random.below(2),
            trip_distance,
            ratecode_id: 1 + random.below(6) * u32::from(random.below(20) == 0),
            store_and_fwd: random.below(200) == 0,
            pickup_location_id: self.zone(random),
            dropoff_location_id: 1 + random.below(ZONES),
            payment_type: if by_card { 1 } else { 2 + random.below(3) },
            fare_amount,
            extra: u64::from(random.below(3)) * 50,
            mta_tax: 50,
            tip_amount: if by_card { fare_amount * u64::from(random.below(31)) / 100 } else { 0 },
            tolls_amount: if random.below(20) == 0 { 576 } else { 0 },
            improvement_surcharge: 30,
            trip_id: FIRST_TRIP_ID + row,
            places: self.config.coordinates.then(|| places(&mut Random::of(self.seed, PLACES, row))),
        }
    }
}

/// Event time of record `row` after the first one.
fn millis_at(row: u64, per_second: u32) -> i64 {
    let (seconds, rest) = (row / u64::from(per_second), row % u64::from(per_second));
    (seconds * 1000 + rest * 1000 / u64::from(per_second)).cast_signed()
}

impl Generate for TaxiTrips {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn write_json(&self, row: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let trip = self.trip(self.original(row));
        match self.fault(row) {
            Some(Fault::Garbage) => out.extend_from_slice(b"java.lang.NullPointerException"),
            fault => write_trip(&trip, fault, out),
        }
        if self.fault(row) == Some(Fault::CutOff) {
            out.truncate(start + (out.len() - start) * 2 / 3);
        }
        out.push(b'\n');
    }

    fn batch(&self, from: u64, count: usize) -> RecordBatch {
        let trips: Vec<Trip> = (from..from + count as u64).map(|row| self.trip(self.original(row))).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns(&trips, self.config.coordinates))
            .expect("the columns are those of the schema")
    }
}

fn write_trip(trip: &Trip, fault: Option<Fault>, out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, name: &[u8], value: u64| {
        out.extend_from_slice(name);
        write_unsigned(value, out);
    };
    let money = |out: &mut Vec<u8>, name: &[u8], value: u64| {
        out.extend_from_slice(name);
        write_hundredths(value, out);
    };
    number(out, br#"{"vendor_id":"#, trip.vendor_id.into());
    if fault != Some(Fault::NoPickupTime) {
        out.extend_from_slice(br#","pickup_datetime":""#);
        write_instant(trip.pickup_millis, out);
        out.push(b'"');
    }
    out.extend_from_slice(br#","dropoff_datetime":""#);
    write_instant(trip.dropoff_millis, out);
    number(out, br#"","passenger_count":"#, trip.passenger_count.into());
    money(out, br#","trip_distance":"#, trip.trip_distance);
    number(out, br#","ratecode_id":"#, trip.ratecode_id.into());
    out.extend_from_slice(br#","store_and_fwd_flag":""#);
    out.extend_from_slice(trip.store_and_fwd_flag().as_bytes());
    out.push(b'"');
    write_places(trip, fault == Some(Fault::WrongType), out);
    number(out, br#","payment_type":"#, trip.payment_type.into());
    money(out, br#","fare_amount":"#, trip.fare_amount);
    money(out, br#","extra":"#, trip.extra);
    money(out, br#","mta_tax":"#, trip.mta_tax);
    money(out, br#","tip_amount":"#, trip.tip_amount);
    money(out, br#","tolls_amount":"#, trip.tolls_amount);
    money(out, br#","improvement_surcharge":"#, trip.improvement_surcharge);
    money(out, br#","total_amount":"#, trip.total_amount());
    number(out, br#","trip_id":"#, trip.trip_id);
    out.extend_from_slice(br#","type":"trip"}"#);
}

fn write_places(trip: &Trip, wrong_type: bool, out: &mut Vec<u8>) {
    let Some(places) = trip.places else {
        out.extend_from_slice(br#","pickup_location_id":"#);
        match wrong_type {
            true => out.extend_from_slice(br#"{"zone":null}"#),
            false => write_unsigned(trip.pickup_location_id.into(), out),
        }
        out.extend_from_slice(br#","dropoff_location_id":"#);
        return write_unsigned(trip.dropoff_location_id.into(), out);
    };
    out.extend_from_slice(br#","pickup_latitude":"#);
    match wrong_type {
        true => out.extend_from_slice(br#"{"degrees":null}"#),
        false => write_millionths(places.pickup.latitude, out),
    }
    let coordinates: [(&[u8], i64); 3] = [
        (br#","pickup_longitude":"#, places.pickup.longitude),
        (br#","dropoff_latitude":"#, places.dropoff.latitude),
        (br#","dropoff_longitude":"#, places.dropoff.longitude),
    ];
    for (name, value) in coordinates {
        out.extend_from_slice(name);
        write_millionths(value, out);
    }
}

/// Columns of where a trip began and ended.
fn place_columns(coordinates: bool) -> Vec<Field> {
    let column = |name: &str, data_type| Field::new(name, data_type, false);
    if coordinates {
        let names = ["pickup_latitude", "pickup_longitude", "dropoff_latitude", "dropoff_longitude"];
        names.into_iter().map(|name| column(name, DataType::Float64)).collect()
    } else {
        ["pickup_location_id", "dropoff_location_id"].into_iter().map(|name| column(name, DataType::Int32)).collect()
    }
}

fn schema(coordinates: bool) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let column = |name: &str, data_type| Field::new(name, data_type, false);
    let mut columns = vec![
        column("vendor_id", DataType::Int32),
        column("pickup_datetime", time.clone()),
        column("dropoff_datetime", time),
        column("passenger_count", DataType::Int32),
        column("trip_distance", DataType::Float64),
        column("ratecode_id", DataType::Int32),
        column("store_and_fwd_flag", DataType::Utf8),
    ];
    columns.extend(place_columns(coordinates));
    columns.extend([
        column("payment_type", DataType::Int32),
        column("fare_amount", DataType::Float64),
        column("extra", DataType::Float64),
        column("mta_tax", DataType::Float64),
        column("tip_amount", DataType::Float64),
        column("tolls_amount", DataType::Float64),
        column("improvement_surcharge", DataType::Float64),
        column("total_amount", DataType::Float64),
        column("trip_id", DataType::Int64),
        column("type", DataType::Utf8),
    ]);
    Arc::new(Schema::new(columns))
}

fn columns(trips: &[Trip], coordinates: bool) -> Vec<ArrayRef> {
    let small = |field: fn(&Trip) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(trips.iter().map(|trip| field(trip).cast_signed())))
    };
    let decimal = |field: fn(&Trip) -> u64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(trips.iter().map(|trip| field(trip) as f64 / 100.0)))
    };
    let time = |field: fn(&Trip) -> i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter_values(trips.iter().map(field)))
    };
    let text = |field: fn(&Trip) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(trips.iter().map(field)))
    };
    let mut columns = vec![
        small(|trip| trip.vendor_id),
        time(|trip| trip.pickup_millis),
        time(|trip| trip.dropoff_millis),
        small(|trip| trip.passenger_count),
        decimal(|trip| trip.trip_distance),
        small(|trip| trip.ratecode_id),
        text(Trip::store_and_fwd_flag),
    ];
    if coordinates {
        let degrees = |field: fn(&Places) -> i64| -> ArrayRef {
            let values = trips.iter().map(|trip| trip.places.as_ref().map_or(0, field) as f64 / 1e6);
            Arc::new(Float64Array::from_iter_values(values))
        };
        columns.extend([
            degrees(|places| places.pickup.latitude),
            degrees(|places| places.pickup.longitude),
            degrees(|places| places.dropoff.latitude),
            degrees(|places| places.dropoff.longitude),
        ]);
    } else {
        columns.extend([small(|trip| trip.pickup_location_id), small(|trip| trip.dropoff_location_id)]);
    }
    columns.extend([
        small(|trip| trip.payment_type),
        decimal(|trip| trip.fare_amount),
        decimal(|trip| trip.extra),
        decimal(|trip| trip.mta_tax),
        decimal(|trip| trip.tip_amount),
        decimal(|trip| trip.tolls_amount),
        decimal(|trip| trip.improvement_surcharge),
        decimal(Trip::total_amount),
        Arc::new(Int64Array::from_iter_values(trips.iter().map(|trip| trip.trip_id.cast_signed()))),
        text(|_| "trip"),
    ]);
    columns
}

/// The borough of a location id: the airport and the two unknown zones where the public table has them, the others
/// scattered in the public table's proportions.
pub fn borough(location_id: u32) -> &'static str {
    match location_id {
        1 => "EWR",
        264.. => "Unknown",
        // 101 has no factor in common with 262, so this deals each number once.
        id => match id * 101 % 262 {
            0..69 => "Manhattan",
            69..138 => "Queens",
            138..199 => "Brooklyn",
            199..242 => "Bronx",
            _ => "Staten Island",
        },
    }
}

/// The zone table as CSV, `LocationID,Borough,Zone`; the zones' names are made up, each different.
pub fn zones_csv() -> String {
    const FIRST: [&str; 18] = [
        "Alder", "Birch", "Cedar", "Dover", "Elm", "Fern", "Grove", "Harbor", "Iron", "Juniper", "Kings", "Linden",
        "Mill", "North", "Oak", "Prospect", "Quarry", "River",
    ];
    const SECOND: [&str; 15] = [
        "Bay", "Bridge", "Corner", "Court", "Flats", "Gardens", "Heights", "Hill", "Island", "Park", "Point", "Slope",
        "Square", "Terrace", "Village",
    ];
    let mut csv = String::from("LocationID,Borough,Zone\n");
    for id in 1..=ZONES {
        let index = id as usize - 1;
        let (first, second) = (FIRST[index % FIRST.len()], SECOND[index / FIRST.len()]);
        writeln!(csv, "{id},{},{first} {second}", borough(id)).expect("writing to a string does not fail");
    }
    csv
}

#[cfg(test)]
mod tests;
