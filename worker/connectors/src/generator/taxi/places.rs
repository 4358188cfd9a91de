//! Where trips begin and end, for the records of older years, which carry coordinates.

use crate::generator::random::Random;

/// A point in millionths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) latitude: i64,
    pub(super) longitude: i64,
}

/// Where a trip began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) pickup: Point,
    pub(super) dropoff: Point,
}

/// South, north, west, east, in millionths of a degree.
struct Box(i64, i64, i64, i64);

const CITY: Box = Box(40_560_000, 40_878_000, -74_054_000, -73_722_000);
const MIDTOWN: Box = Box(40_720_000, 40_780_000, -74_010_000, -73_950_000);
const JFK: Box = Box(40_632_000, 40_654_000, -73_800_000, -73_761_000);
const LGA: Box = Box(40_766_000, 40_778_000, -73_881_000, -73_859_000);
/// West of the city, across the rivers.
const OUTSIDE: Box = Box(40_600_000, 40_860_000, -74_400_000, -74_100_000);

impl Box {
    fn point(&self, random: &mut Random) -> Point {
        let mut between = |from: i64, to: i64| from + i64::from(random.below((to - from + 1) as u32));
        Point { latitude: between(self.0, self.1), longitude: between(self.2, self.3) }
    }
}

/// Of a hundred trips, 2 have lost their coordinates (0,0), 3 begin outside of the city, 6 go to JFK and 4 to LGA; of
/// the others half begin, and half end, in midtown.
pub(super) fn places(random: &mut Random) -> Places {
    let from = random.below(100);
    if from < 2 {
        let nowhere = Point { latitude: 0, longitude: 0 };
        return Places { pickup: nowhere, dropoff: nowhere };
    }
    let pickup = match from {
        2..5 => OUTSIDE,
        5..53 => MIDTOWN,
        _ => CITY,
    };
    let dropoff = match random.below(100) {
        0..6 => JFK,
        6..10 => LGA,
        10..55 => MIDTOWN,
        _ => CITY,
    };
    Places { pickup: pickup.point(random), dropoff: dropoff.point(random) }
}
