//! Days and dates of the proleptic Gregorian calendar, after Howard Hinnant's `chrono`-compatible algorithms
//! (<https://howardhinnant.github.io/date_algorithms.html>).

/// Days from 1970-01-01 to a date, which must exist.
#[inline]
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days of a month; zero for a month that does not exist.
#[inline]
pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    const DAYS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = usize::try_from(month).ok().and_then(|m| DAYS.get(m)).copied().unwrap_or_default();
    i64::from(days) + i64::from(is_leap && month == 2)
}

/// Days since 1970 of a date, if it exists.
#[inline]
pub(super) fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    let exists = day >= 1 && day <= days_in_month(year, month);
    exists.then(|| days_from_civil(year, month, day))
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dates_are_those_of_chrono(year in 1_i64..10_000, month in 0_i64..14, day in 0_i64..33) {
            let oracle = NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32);
            let days = oracle.map(|date| i64::from(date.num_days_from_ce()) - 719_163);
            prop_assert_eq!(checked_days(year, month, day), days);
            if let Some(days) = days {
                prop_assert_eq!(civil_from_days(days), (year, month as u32, day as u32));
            }
        }
    }
}
