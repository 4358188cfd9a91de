use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::generator::testing::{assert_text_equals_columns, fingerprint, lines};

const ROWS: u64 = 100_000;

fn trips(config: TaxiConfig) -> TaxiTrips {
    TaxiTrips::new(config, 42).expect("a valid configuration")
}

fn share(of: impl Fn(u64) -> bool) -> f64 {
    (0..ROWS).filter(|&row| of(row)).count() as f64 / ROWS as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_every_build() {
    let config = TaxiConfig { late_rate: 0.01, duplicate_rate: 0.01, broken_rate: 0.01, ..TaxiConfig::default() };
    assert_eq!(fingerprint(&trips(config), 10_000), 15_016_693_240_656_373_227);
}

#[test]
fn a_trip_has_the_fields_of_the_workload_in_their_order_and_about_its_size() {
    let trips = trips(TaxiConfig::default());
    let first: serde_json::Map<String, Value> = serde_json::from_str(&lines(&trips, 0..1)[0]).expect("JSON");
    let wanted = "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,ratecode_id,\
                  store_and_fwd_flag,pickup_location_id,dropoff_location_id,payment_type,fare_amount,extra,mta_tax,\
                  tip_amount,tolls_amount,improvement_surcharge,total_amount,trip_id,type";
    assert_eq!(first.keys().cloned().collect::<Vec<_>>().join(","), wanted);
    let bytes: usize = lines(&trips, 0..10_000).iter().map(|line| line.len() + 1).sum();
    assert!((400..450).contains(&(bytes / 10_000)), "{} bytes a trip", bytes / 10_000);
}

#[test]
fn the_text_and_the_columns_hold_the_same_values() {
    let config = TaxiConfig { late_rate: 0.1, duplicate_rate: 0.1, ..TaxiConfig::default() };
    assert_text_equals_columns(&trips(config), 1_000, 2_000);
}

#[test]
fn older_records_carry_coordinates_instead_of_location_ids() {
    let config = TaxiConfig { coordinates: true, duplicate_rate: 0.1, ..TaxiConfig::default() };
    let older = trips(config);
    assert_text_equals_columns(&older, 1_000, 2_000);
    let first: serde_json::Map<String, Value> = serde_json::from_str(&lines(&older, 0..1)[0]).expect("JSON");
    assert!(!first.contains_key("pickup_location_id"));

    let within = |line: &Value, end: &str, south: f64, north: f64, west: f64, east: f64| {
        let degrees = |name: &str| line[format!("{end}_{name}")].as_f64().expect("degrees");
        (south..=north).contains(&degrees("latitude")) && (west..=east).contains(&degrees("longitude"))
    };
    let rows: Vec<Value> =
        lines(&older, 0..ROWS).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let share = |of: &dyn Fn(&Value) -> bool| rows.iter().filter(|row| of(row)).count() as f64 / ROWS as f64;
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < wanted * 0.1, "{found}, wanted {wanted}");
    near(share(&|row| row["pickup_latitude"] == 0.0 && row["pickup_longitude"] == 0.0), 0.02);
    near(share(&|row| within(row, "pickup", 40.560, 40.878, -74.054, -73.722)), 0.95);
    assert!(share(&|row| within(row, "dropoff", 40.632, 40.654, -73.800, -73.761)) > 0.05);
    assert!(share(&|row| within(row, "dropoff", 40.766, 40.778, -73.881, -73.859)) > 0.03);
}

#[test]
fn rates_hold_and_what_is_counted_is_what_is_written() {
    let config = TaxiConfig {
        late_rate: 0.05,
        duplicate_rate: 0.02,
        broken_rate: 0.01,
        hot_zone: Some(138),
        ..TaxiConfig::default()
    };
    let trips = trips(config.clone());
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < wanted * 0.1, "{found}, wanted {wanted}");
    near(share(|row| trips.is_late(row)), 0.05);
    near(share(|row| trips.original(row) != row), 0.02);
    near(share(|row| trips.is_broken(row)), 0.01);
    near(share(|row| trips.trip(row).pickup_location_id == 138), 0.5);
    assert!((0..ROWS).all(|row| (1..=ZONES).contains(&trips.trip(row).dropoff_location_id)));

    for (row, line) in (0..ROWS).zip(lines(&trips, 0..ROWS)) {
        let good = serde_json::from_str::<Value>(&line)
            .ok()
            .filter(|trip| trip["pickup_location_id"].is_u64() && trip["pickup_datetime"].is_string());
        assert_eq!(good.is_none(), trips.is_broken(row), "line {row}: {line}");
        if let Some(trip) = good {
            assert_eq!(trip["trip_id"], FIRST_TRIP_ID + trips.original(row));
        }
    }
}

#[test]
fn every_kind_of_fault_occurs() {
    let trips = trips(TaxiConfig { broken_rate: 1.0, ..TaxiConfig::default() });
    for fault in [Fault::CutOff, Fault::Garbage, Fault::WrongType, Fault::NoPickupTime] {
        assert!((0..100).any(|row| trips.fault(row) == Some(fault)), "{fault:?}");
    }
}

#[test]
fn what_a_trip_holds_does_not_depend_on_the_rates() {
    let plain = trips(TaxiConfig::default());
    let broken = trips(TaxiConfig { broken_rate: 0.5, ..TaxiConfig::default() });
    let differing = (0..1_000).filter(|&row| lines(&plain, row..row + 1) != lines(&broken, row..row + 1));
    assert!(differing.into_iter().all(|row| broken.is_broken(row)));
}

#[test]
fn event_time_advances_and_only_late_trips_lag_more_than_the_disorder() {
    let config = TaxiConfig { late_rate: 0.01, events_per_second: 300, ..TaxiConfig::default() };
    let trips = trips(config.clone());
    let mut greatest = i64::MIN;
    for row in 0..ROWS {
        let pickup = trips.trip(row).pickup_millis;
        let lag = greatest.saturating_sub(pickup);
        if trips.is_late(row) {
            assert!(lag > 60_000 - i64::from(config.disorder_millis) || row < 100, "row {row} lags {lag} ms");
        } else {
            assert!(lag <= i64::from(config.disorder_millis), "row {row} lags {lag} ms");
        }
        greatest = greatest.max(pickup);
    }
    let advanced = greatest - config.start_millis;
    assert!((advanced - 333_333).abs() < 2_100, "100,000 trips at 300 a second took {advanced} ms");
}

#[test]
fn a_setting_out_of_range_is_refused_with_what_is_expected() {
    let refused = |config| TaxiTrips::new(config, 0).expect_err("refused").to_string();
    let rate = TaxiConfig { late_rate: 1.5, ..TaxiConfig::default() };
    assert_eq!(refused(rate), "generator.lateRate: found 1.5, expected 0 to 1");
    let zone = TaxiConfig { hot_zone: Some(266), ..TaxiConfig::default() };
    assert_eq!(refused(zone), "generator.hotZone: found 266, expected 1 to 265");
    let zone = TaxiConfig { hot_zone: Some(1), coordinates: true, ..TaxiConfig::default() };
    assert_eq!(refused(zone), "generator.hotZone: found a zone, expected none with coordinates");
}

#[test]
fn the_zone_table_has_each_location_once_in_every_borough() {
    let csv = zones_csv();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["LocationID", "Borough", "Zone"]);
    assert_eq!(rows.len(), 266);
    assert!((1..=265).zip(&rows[1..]).all(|(id, row)| row.len() == 3 && row[0] == id.to_string()));
    let boroughs: BTreeSet<_> = rows[1..].iter().map(|row| row[1]).collect();
    let wanted = ["Bronx", "Brooklyn", "EWR", "Manhattan", "Queens", "Staten Island", "Unknown"];
    assert_eq!(boroughs.into_iter().collect::<Vec<_>>(), wanted);
    assert_eq!(rows[1..].iter().map(|row| row[2]).collect::<BTreeSet<_>>().len(), 265, "each zone has its own name");
    assert_eq!(rows[1..].iter().filter(|row| row[1] == "Manhattan").count(), 69);
}
