//! The examples run as they stand, by the commands of their first comments, and give what an independent computation
//! gives.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

use crate::command::Workplace;
use crate::output::{Rows, count, rows_in};

/// An example, copied to where its commands expect it, and run; what the commands printed to standard output.
fn run_example(name: &str) -> (Workplace, String) {
    let place = Workplace::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples").join(name);
    let manifest = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("the example");
    place.write(&format!("manifests/examples/{name}/{name}.yaml"), &manifest);
    let comment = manifest.lines().take_while(|line| line.starts_with('#'));
    let commands: Vec<&str> = comment.filter_map(|line| line.strip_prefix("#   thalweg ")).collect();
    assert_eq!(commands.len(), 2, "{name}: the comment says how to make the data and how to run");
    let printed = commands.iter().map(|command| place.succeed(&command.split_whitespace().collect::<Vec<_>>()));
    let printed = printed.collect();
    (place, printed)
}

fn lines(place: &Workplace, folder: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(place.path(folder)).expect("generated") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|suffix| suffix == "json") {
            lines.extend(std::fs::read_to_string(path).expect("text").lines().map(str::to_owned));
        }
    }
    assert!(lines.len() >= 100_000, "{} lines", lines.len());
    lines
}

fn parsed(rows: &Rows) -> Vec<Value> {
    assert!(rows.values().flat_map(BTreeMap::values).all(|times| *times == 1), "a row came twice");
    let rows = rows.values().flat_map(BTreeMap::keys);
    rows.map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

/// Milliseconds of a time with or without its zone.
fn millis(time: &Value) -> i64 {
    let text = time.as_str().expect("a time");
    let with_zone = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    let without =
        || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|t| t.and_utc().timestamp_millis());
    with_zone.or_else(|_| without()).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[test]
fn boroughs_counts_as_a_count_by_hand_does() {
    let (place, printed) = run_example("boroughs");
    let zones = std::fs::read_to_string(place.path("manifests/examples/boroughs/data/zones.csv")).expect("zones");
    let zones: BTreeMap<i64, &str> = zones
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| (cells[0].parse().expect("an id"), cells[1]))
        .collect();
    let mut expected = BTreeMap::<(i64, String), i64>::new();
    for line in lines(&place, "manifests/examples/boroughs/data") {
        let trip: Value = serde_json::from_str(&line).expect("JSON");
        let start = millis(&trip["pickup_datetime"]).div_euclid(5_000) * 5_000;
        let zone = zones.get(&trip["pickup_location_id"].as_i64().expect("a zone"));
        *expected.entry((start, zone.unwrap_or(&"Unknown").to_string())).or_default() += 1;
    }
    let found = parsed(&rows_in(&place.path("manifests/examples/boroughs/out/counts")));
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|row| {
            ((millis(&row["window_start"]), text_of(&row["borough"])), row["pickups"].as_i64().expect("a count"))
        })
        .collect();
    assert_eq!(found, expected);
    let shown = printed.lines().filter(|line| line.contains("Queens")).count();
    assert_eq!(
        shown,
        expected.keys().filter(|(_, borough)| borough == "Queens").count(),
        "the terminal shows all rows"
    );
}

/// Geohash as its inventor describes it: <http://geohash.org/site/tips.html>; bits of longitude and latitude in turn.
fn geohash(latitude: f64, longitude: f64, length: usize) -> String {
    const DIGITS: &[u8] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let mut bounds = [(-180.0, 180.0), (-90.0, 90.0)];
    let mut bits = Vec::new();
    for bit in 0..length * 5 {
        let (low, high) = &mut bounds[bit % 2];
        let middle = (*low + *high) / 2.0;
        let value = if bit % 2 == 0 { longitude } else { latitude };
        bits.push(usize::from(value >= middle));
        *(if value >= middle { low } else { high }) = middle;
    }
    bits.chunks(5).map(|five| char::from(DIGITS[five.iter().fold(0, |digit, bit| digit * 2 + bit)])).collect()
}

#[test]
fn the_geohash_by_hand_is_that_of_the_published_example() {
    assert_eq!(geohash(57.64911, 10.40744, 11), "u4pruydqqvj");
}

fn airport(latitude: f64, longitude: f64) -> Option<&'static str> {
    let within = |south, north, west, east| (south..=north).contains(&latitude) && (west..=east).contains(&longitude);
    match () {
        () if within(40.632, 40.654, -73.800, -73.761) => Some("JFK"),
        () if within(40.766, 40.778, -73.881, -73.859) => Some("LGA"),
        () => None,
    }
}

#[test]
fn city_heat_counts_cells_and_averages_airport_trips_as_a_computation_by_hand_does() {
    const HOUR: i64 = 3_600_000;
    let (place, _) = run_example("city-heat");
    let mut counts = BTreeMap::<(i64, String), i64>::new();
    let mut minutes = BTreeMap::<(i64, String, String), Vec<f64>>::new();
    let mut nowhere = 0;
    for line in lines(&place, "manifests/examples/city-heat/data") {
        let trip: Value = serde_json::from_str(&line).expect("JSON");
        let degrees = |name: &str| trip[name].as_f64().expect("degrees");
        let (latitude, longitude) = (degrees("pickup_latitude"), degrees("pickup_longitude"));
        nowhere += i64::from(latitude == 0.0);
        if !(40.560..=40.878).contains(&latitude) || !(-74.054..=-73.722).contains(&longitude) {
            continue;
        }
        let (from, to) = (millis(&trip["pickup_datetime"]), millis(&trip["dropoff_datetime"]));
        let end = from.div_euclid(HOUR) * HOUR + HOUR;
        *counts.entry((end, geohash(latitude, longitude, 7))).or_default() += 1;
        if let Some(airport) = airport(degrees("dropoff_latitude"), degrees("dropoff_longitude")) {
            let key = (end, geohash(latitude, longitude, 6), airport.to_owned());
            minutes.entry(key).or_default().push(((to - from) / 1_000) as f64 / 60.0);
        }
    }
    assert!(nowhere > 100, "{nowhere} trips without coordinates");

    let found = parsed(&rows_in(&place.path("manifests/examples/city-heat/out/pickup-counts")));
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|row| {
            ((millis(&row["timestamp"]), text_of(&row["location"])), row["pickup_count"].as_i64().expect("a count"))
        })
        .collect();
    assert!(found == counts, "{} cells, expected {}", found.len(), counts.len());

    minutes.retain(|_, trips| trips.len() > 1);
    assert!(minutes.len() > 100, "{} groups", minutes.len());
    let found = parsed(&rows_in(&place.path("manifests/examples/city-heat/out/airport-times")));
    assert_eq!(found.len(), minutes.len());
    for row in found {
        let key = (millis(&row["timestamp"]), text_of(&row["location"]), text_of(&row["airport"]));
        let trips = &minutes[&key];
        let average = trips.iter().sum::<f64>() / trips.len() as f64;
        let found = row["average_minutes"].as_f64().expect("a number");
        assert!((found - average).abs() < 1e-3, "{key:?}: {found}, expected {average}");
    }
}

/// A trip of the ETL example as its sinks write it; `None` for a record that is bad.
fn good_trip(line: &str) -> Option<BTreeMap<String, Value>> {
    const COLUMNS: [&str; 12] = [
        "trip_id",
        "vendor_id",
        "pickup_datetime",
        "dropoff_datetime",
        "passenger_count",
        "trip_distance",
        "pickup_location_id",
        "dropoff_location_id",
        "payment_type",
        "fare_amount",
        "tip_amount",
        "total_amount",
    ];
    let trip: Value = serde_json::from_str(line).ok()?;
    let good = trip["pickup_location_id"].is_i64() && trip["pickup_datetime"].is_string();
    good.then(|| COLUMNS.map(|name| (name.to_owned(), trip[name].clone())).into())
}

fn id(trip: &BTreeMap<String, Value>) -> i64 {
    trip["trip_id"].as_i64().expect("an id")
}

fn run_again(place: &Workplace, name: &str, source: &str) -> Rows {
    let manifest = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: {{ name: trips }}\nspec:\n{source}\n---\n\
         apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: {{ name: out }}\n\
         spec: {{ files: {{ url: again/{name} }} }}\n---\n\
         apiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{ name: {name} }}\nspec:\n  \
         sources: [{{ name: trips }}]\n  sinks: [{{ name: out }}]\n  sql: INSERT INTO out SELECT * FROM trips\n"
    );
    place.write(&format!("{name}.yaml"), &manifest);
    place.succeed(&["run", &format!("{name}.yaml")]);
    rows_in(&place.path(&format!("again/{name}")))
}

#[test]
fn etl_keeps_every_good_trip_in_all_sinks_and_every_bad_record_as_a_dead_letter() {
    const OUT: &str = "manifests/examples/etl/out";
    let (place, _) = run_example("etl");
    let (mut good, mut bad) = (BTreeMap::new(), Vec::new());
    for line in lines(&place, "manifests/examples/etl/data") {
        match good_trip(&line) {
            Some(trip) => drop(good.insert(id(&trip), trip)),
            None => bad.push(line),
        }
    }

    let json = rows_in(&place.path(&format!("{OUT}/json")));
    let found = parsed(&json).into_iter().map(|row| serde_json::from_value(row).expect("an object"));
    let found: BTreeMap<i64, BTreeMap<String, Value>> = found.map(|trip| (id(&trip), trip)).collect();
    assert!(found == good, "numbers stay numbers, times stay times, nothing is dropped");

    let parquet = rows_in(&place.path(&format!("{OUT}/parquet")));
    assert_eq!(count(&parquet), good.len());
    for (partition, rows) in &parquet {
        for row in rows.keys() {
            let row: Value = serde_json::from_str(row).expect("JSON");
            let trip = &good[&row["trip_id"].as_i64().expect("an id")];
            assert_eq!(millis(&row["pickup_datetime"]), millis(&trip["pickup_datetime"]));
            let fare = row["fare_amount"].as_f64().or_else(|| row["fare_amount"].as_str()?.parse().ok());
            assert_eq!(fare, trip["fare_amount"].as_f64());
            let day = text_of(&trip["pickup_datetime"])[..10].to_owned();
            assert_eq!(*partition, format!("vendor_id={}/date={day}/", trip["vendor_id"]));
        }
    }

    let letters = rows_in(&place.path(&format!("{OUT}/bad")));
    let letters = parsed(&letters);
    let mut raw: Vec<String> = letters.iter().map(|letter| text_of(&letter["raw"])).collect();
    raw.sort();
    bad.sort();
    assert!(!bad.is_empty() && raw == bad, "{} dead letters, {} bad records", raw.len(), bad.len());

    let schema = "  schema:\n    - { name: trip_id, type: BIGINT }\n    - { name: vendor_id, type: INT }\n    \
         - { name: pickup_datetime, type: TIMESTAMP(3) }\n    - { name: dropoff_datetime, type: TIMESTAMP(3) }\n    \
         - { name: passenger_count, type: INT }\n    - { name: trip_distance, type: DOUBLE }\n    \
         - { name: pickup_location_id, type: INT }\n    - { name: dropoff_location_id, type: INT }\n    \
         - { name: payment_type, type: INT }\n    - { name: fare_amount, type: \"DECIMAL(10, 2)\" }\n    \
         - { name: tip_amount, type: \"DECIMAL(10, 2)\" }\n    - { name: total_amount, type: \"DECIMAL(10, 2)\" }";
    let again = run_again(&place, "json-again", &format!("  files: {{ url: \"{OUT}/json/*.json\" }}\n{schema}"));
    assert!(again == json, "what was written can be read, and gives the same rows");
    let source = format!("  files: {{ url: \"{OUT}/parquet/*/*/*.parquet\" }}\n  format: {{ parquet: {{}} }}");
    assert_eq!(count(&run_again(&place, "parquet-again", &source)), good.len());
}
