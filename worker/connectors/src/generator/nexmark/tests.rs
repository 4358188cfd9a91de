use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::*;
use crate::generator::testing::{assert_text_equals_columns, fingerprint, lines};

fn events(kind: NexmarkKind) -> Nexmark {
    Nexmark::new(kind, 42)
}

fn parsed(kind: NexmarkKind, rows: std::ops::Range<u64>) -> Vec<Json> {
    lines(&events(kind), rows).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn average_bytes(kind: NexmarkKind) -> usize {
    lines(&events(kind), 0..5_000).iter().map(|line| line.len() + 1).sum::<usize>() / 5_000
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_every_build() {
    let found =
        [NexmarkKind::Person, NexmarkKind::Auction, NexmarkKind::Bid].map(|kind| fingerprint(&events(kind), 5_000));
    assert_eq!(found, [12_451_454_556_055_290_603, 15_787_785_368_840_188_111, 8_181_527_884_039_767_585]);
}

#[test]
fn the_text_and_the_columns_hold_the_same_values() {
    for kind in [NexmarkKind::Person, NexmarkKind::Auction, NexmarkKind::Bid] {
        assert_text_equals_columns(&events(kind), 777, 1_000);
    }
}

#[test]
fn events_are_dealt_as_1_3_46_without_gaps() {
    let mut all: Vec<u64> = Vec::new();
    for (kind, count) in [(NexmarkKind::Person, 10), (NexmarkKind::Auction, 30), (NexmarkKind::Bid, 460)] {
        all.extend((0..count).map(|row| events(kind).event(row)));
    }
    all.sort_unstable();
    assert_eq!(all, (0..500).collect::<Vec<_>>());
}

#[test]
fn event_time_advances_by_a_hundred_thousand_events_a_second() {
    let bids = parsed(NexmarkKind::Bid, 92_000..92_001);
    assert_eq!(bids[0]["dateTime"], "2015-07-15T00:00:01.000Z", "92,000 bids are 100,000 events");
}

#[test]
fn sizes_are_about_those_of_the_benchmark() {
    let found = [NexmarkKind::Person, NexmarkKind::Auction, NexmarkKind::Bid].map(average_bytes);
    // The fields' sizes are 200, 500 and 100 bytes; JSON adds names, punctuation and times.
    assert!((250..340).contains(&found[0]), "{found:?}");
    assert!((600..720).contains(&found[1]), "{found:?}");
    assert!((220..280).contains(&found[2]), "{found:?}");
}

#[test]
fn ids_are_those_of_what_was_created_and_auctions_have_sellers() {
    let persons = parsed(NexmarkKind::Person, 0..2_000);
    assert!((0..).zip(&persons).all(|(row, person): (u64, _)| person["id"] == FIRST_PERSON + row));
    let auctions = parsed(NexmarkKind::Auction, 0..6_000);
    assert!((0..).zip(&auctions).all(|(row, auction): (u64, _)| auction["id"] == FIRST_AUCTION + row));
    for (row, auction) in (0..).zip(&auctions) {
        let created = FIRST_PERSON + row / AUCTIONS;
        assert!(auction["seller"].as_u64().is_some_and(|seller| seller <= created + IDS_AHEAD), "{auction}");
        assert!(auction["reserve"].as_u64() > auction["initialBid"].as_u64());
        assert!(auction["expires"].as_str() > auction["dateTime"].as_str());
    }
}

#[test]
fn half_of_the_bids_go_to_hot_auctions_and_half_come_over_hot_channels() {
    let bids = parsed(NexmarkKind::Bid, 100_000..120_000);
    let share = |of: &dyn Fn(&Json) -> bool| bids.iter().filter(|bid| of(bid)).count() as f64 / bids.len() as f64;
    let hot_auction =
        share(&|bid| (bid["auction"].as_u64().expect("a number") - FIRST_AUCTION).is_multiple_of(HOT_GROUP));
    let hot_bidder = share(&|bid| (bid["bidder"].as_u64().expect("a number") - FIRST_PERSON) % HOT_GROUP == 1);
    let hot_channel = share(&|bid| HOT_CHANNELS.iter().any(|&channel| bid["channel"] == channel));
    assert!((0.49..0.53).contains(&hot_auction), "{hot_auction}");
    assert!((0.73..0.78).contains(&hot_bidder), "{hot_bidder}");
    assert!((0.48..0.52).contains(&hot_channel), "{hot_channel}");
}

#[test]
fn a_channel_always_has_the_same_url() {
    let mut urls = BTreeMap::new();
    for bid in parsed(NexmarkKind::Bid, 0..20_000) {
        let url = bid["url"].clone();
        let known = urls.entry(bid["channel"].to_string()).or_insert_with(|| url.clone());
        assert_eq!(*known, url);
    }
}

#[test]
fn names_are_spelled_as_the_queries_expect() {
    let person = &parsed(NexmarkKind::Person, 0..1)[0];
    let state = person["state"].as_str().expect("text");
    assert!(STATES.contains(&state), "q3 looks for OR, ID and CA");
}
