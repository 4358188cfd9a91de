//! Texts that are nearly right: each is planned or refused, and none takes the planner down.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_sql::{explain, plan};

use crate::support::catalog;

const TEXTS: u64 = 3_000;

const GOOD: &[&str] = &[
    "INSERT INTO out SELECT auction , price * 2 AS p FROM bid WHERE channel = 'x' AND price > 1.5 ;",
    "INSERT INTO out SELECT window_start , window_end , count ( * ) AS n FROM TABLE ( TUMBLE ( TABLE bid , DESCRIPTOR ( dateTime ) , INTERVAL '10' SECOND ) ) GROUP BY window_start , window_end HAVING count ( * ) > 1 ;",
    "CREATE TEMPORARY VIEW v AS SELECT auction AS id , dateTime AS ts FROM bid UNION ALL SELECT trip_id , pickup_at FROM trips ; INSERT INTO out SELECT id , max ( ts ) AS m FROM HOP ( TABLE v , DESCRIPTOR ( ts ) , INTERVAL '1' SECOND , INTERVAL '2' SECOND ) AS w GROUP BY id , window_start , window_end ;",
    "INSERT INTO out SELECT t . trip_id , z . Zone FROM trips AS t LEFT JOIN zones FOR SYSTEM_TIME AS OF t . pickup_at AS z ON t . pickup_location_id = z . LocationID ;",
    "INSERT INTO out SELECT bidder , count ( DISTINCT auction ) AS n FROM TABLE ( SESSION ( TABLE bid PARTITION BY bidder , DESCRIPTOR ( dateTime ) , INTERVAL '10' SECOND ) ) GROUP BY bidder , window_start , window_end ;",
    "EXECUTE STATEMENT SET BEGIN INSERT INTO out SELECT CASE WHEN price IS NULL THEN 0 ELSE MOD ( price , 7 ) END AS x , FLOOR ( dateTime TO HOUR ) AS h FROM bid ; END ;",
];

/// A good text with some of its words dropped, doubled, swapped, or taken from elsewhere.
fn nearly_right(rng: &mut ChaCha8Rng) -> String {
    let pick = |rng: &mut ChaCha8Rng| GOOD.choose(rng).copied().unwrap_or_default();
    let mut words: Vec<String> = pick(rng).split(' ').map(str::to_owned).collect();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..words.len());
        let other =
            pick(rng).split(' ').collect::<Vec<_>>().choose(rng).map_or_else(String::new, |&word| word.to_owned());
        match rng.random_range(0..5) {
            0 if words.len() > 1 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => words[at] = other,
            3 => words.insert(at, other),
            _ => {
                let with = rng.random_range(0..words.len());
                words.swap(at, with);
            }
        }
    }
    words.join(" ")
}

#[test]
fn texts_that_are_nearly_right_are_planned_or_refused() {
    let catalog = catalog();
    let mut planned = 0;
    for seed in 0..TEXTS {
        let sql = nearly_right(&mut ChaCha8Rng::seed_from_u64(seed));
        match plan(&sql, &catalog) {
            Ok(plan) => {
                planned += 1;
                assert!(!explain(&plan).is_empty(), "{sql}");
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "{sql}");
                for problem in problems {
                    assert!(problem.line == 1 && problem.column <= sql.chars().count() + 1, "{sql}\n{problem}");
                    let words = problem.to_string().to_lowercase();
                    assert!(!words.contains("internal") && !words.contains("this was likely"), "{sql}\n{problem}");
                }
            }
        }
    }
    assert!(planned > 0);
}
