//! Times, all in UTC.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringBuilder, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::java_time::{DEFAULT, Pattern};
use super::row::{Kind, Last, Returns, pure};

const TEXT: Returns = Returns::Always(|| DataType::Utf8);
const LONG: Returns = Returns::Always(|| DataType::Int64);
const TIME: Returns = Returns::Always(|| DataType::Timestamp(TimeUnit::Millisecond, None));
const DAY: i64 = 86_400_000;

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        pure("time_field", &[Kind::Text, Kind::Time], 2, LONG, |args| {
            by_unit(args, |unit, time| field(unit, calendar(time)?))
        }),
        pure("floor_time", &[Kind::Text, Kind::Time], 2, TIME, |args| as_time(by_unit(args, floor)?)),
        pure("ceil_time", &[Kind::Text, Kind::Time], 2, TIME, |args| {
            as_time(by_unit(args, |unit, time| {
                let down = floor(unit, time)?;
                if down == time { Ok(time) } else { add(unit, 1, down) }
            })?)
        }),
        pure("timestampdiff_unit", &[Kind::Text, Kind::Time, Kind::Time], 3, LONG, |args| {
            let (from, to) = (times(&args[1]), times(&args[2]));
            by_row(&args[0], |row, unit| {
                if from.is_null(row) || to.is_null(row) {
                    return Ok(None);
                }
                difference(unit, from.value(row), to.value(row)).map(Some)
            })
        }),
        pure("timestampadd_unit", &[Kind::Text, Kind::Int, Kind::Time], 3, TIME, |args| {
            let (count, time) = (args[1].as_primitive::<Int64Type>(), times(&args[2]));
            as_time(by_row(&args[0], |row, unit| {
                if count.is_null(row) || time.is_null(row) {
                    return Ok(None);
                }
                add(unit, count.value(row), time.value(row)).map(Some)
            })?)
        }),
        pure("date_format", &[Kind::Time, Kind::Text], 2, TEXT, |args| formatted(&times(&args[0]), Some(&args[1]))),
        pure("timestamp_text", &[Kind::Time], 1, TEXT, |args| {
            formatted_by(&times(&args[0]), None, "yyyy-MM-dd HH:mm:ss.SSS")
        }),
        pure("convert_tz", &[Kind::Text, Kind::Text, Kind::Text], 3, TEXT, convert_tz),
        pure("from_unixtime", &[Kind::Int, Kind::Text], 1, TEXT, |args| {
            let seconds = args[0].as_primitive::<Int64Type>();
            let rows = seconds.iter().map(|seconds| seconds?.checked_mul(1_000));
            formatted(&rows.collect(), args.get(1))
        }),
        pure("to_timestamp", &[Kind::Text, Kind::Text], 1, TIME, |args| as_time(parsed(args, 1)?)),
        pure("to_date", &[Kind::Text, Kind::Text], 1, Returns::Always(|| DataType::Date32), |args| {
            Ok(cast(&parsed(args, DAY)?, &DataType::Int32).and_then(|days| cast(&days, &DataType::Date32))?)
        }),
        pure("unix_timestamp", &[Kind::Text, Kind::Text], 1, LONG, |args| parsed(args, 1_000)),
        pure("to_timestamp_ltz", &[Kind::Int, Kind::Int], 1, TIME, |args| as_time(from_epoch(args)?)),
    ]
}

fn times(array: &ArrayRef) -> TimestampMillisecondArray {
    array.as_primitive::<TimestampMillisecondType>().clone()
}

fn as_time(millis: ArrayRef) -> Result<ArrayRef> {
    Ok(Arc::new(millis.as_primitive::<Int64Type>().reinterpret_cast::<TimestampMillisecondType>()))
}

fn by_row(units: &ArrayRef, mut run: impl FnMut(usize, Unit) -> Result<Option<i64>>) -> Result<ArrayRef> {
    let units = units.as_string::<i32>();
    let mut last = Last::new();
    let rows = (0..units.len()).map(|row| {
        if units.is_null(row) {
            return Ok(None);
        }
        let unit = *last.get(units.value(row), Unit::parse)?;
        run(row, unit)
    });
    Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
}

fn by_unit(args: &[ArrayRef], run: fn(Unit, i64) -> Result<i64>) -> Result<ArrayRef> {
    let time = times(&args[1]);
    by_row(&args[0], |row, unit| if time.is_null(row) { Ok(None) } else { run(unit, time.value(row)).map(Some) })
}

fn formatted(time: &TimestampMillisecondArray, pattern: Option<&ArrayRef>) -> Result<ArrayRef> {
    formatted_by(time, pattern, DEFAULT)
}

fn formatted_by(time: &TimestampMillisecondArray, pattern: Option<&ArrayRef>, default: &str) -> Result<ArrayRef> {
    let pattern = pattern.map(|pattern| pattern.as_string::<i32>());
    let mut out = StringBuilder::with_capacity(time.len(), time.len() * 20);
    let mut last = Last::new();
    let mut text = String::new();
    for row in 0..time.len() {
        if time.is_null(row) || pattern.is_some_and(|pattern| pattern.is_null(row)) {
            out.append_null();
            continue;
        }
        text.clear();
        let pattern = last.get(pattern.map_or(default, |pattern| pattern.value(row)), Pattern::parse)?;
        pattern.format(time.value(row), &mut text)?;
        out.append_value(&text);
    }
    Ok(Arc::new(out.finish()))
}

/// Text to milliseconds divided by `unit`; null where it does not follow the pattern.
fn parsed(args: &[ArrayRef], unit: i64) -> Result<ArrayRef> {
    let text = args[0].as_string::<i32>();
    let pattern = args.get(1).map(|pattern| pattern.as_string::<i32>());
    let mut last = Last::new();
    let rows = (0..text.len()).map(|row| {
        if text.is_null(row) || pattern.is_some_and(|pattern| pattern.is_null(row)) {
            return Ok(None);
        }
        let millis = match pattern {
            Some(pattern) => last.get(pattern.value(row), Pattern::parse)?.read(text.value(row)),
            None => plain(text.value(row)),
        };
        Ok::<_, DataFusionError>(millis.map(|millis| millis.div_euclid(unit)))
    });
    Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
}

/// `2018-01-01`, `2018-01-01 04:17:05`, `2018-01-01T04:17:05.123Z`
fn plain(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches('Z').replacen('T', " ", 1);
    let time = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M"))
        .or_else(|_| NaiveDate::parse_from_str(&text, "%Y-%m-%d").map(|date| date.and_time(chrono::NaiveTime::MIN)));
    Some(time.ok()?.and_utc().timestamp_millis())
}

/// `CONVERT_TZ` of Flink: a text of a time in one zone as that of another; null where it is no time.
fn convert_tz(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, from, to] = [0, 1, 2].map(|at| args[at].as_string::<i32>());
    let (mut last_from, mut last_to) = (Last::new(), Last::new());
    let zone = |name: &str| match name.parse::<Tz>() {
        Ok(zone) => Ok(zone),
        Err(_) => exec_err!("`{name}` is no time zone of the form UTC or Europe/Paris"),
    };
    let mut out = StringBuilder::with_capacity(texts.len(), 0);
    for row in 0..texts.len() {
        if texts.is_null(row) || from.is_null(row) || to.is_null(row) {
            out.append_null();
            continue;
        }
        let (from, to) = (*last_from.get(from.value(row), zone)?, *last_to.get(to.value(row), zone)?);
        let local = NaiveDateTime::parse_from_str(texts.value(row).trim(), "%Y-%m-%d %H:%M:%S%.f").ok();
        let moved = local.and_then(|local| instant(local, from)).map(|instant| instant.with_timezone(&to));
        out.append_option(moved.map(|moved| moved.format("%Y-%m-%d %H:%M:%S").to_string()));
    }
    Ok(Arc::new(out.finish()))
}

/// The last instant at which the clocks of a zone show a time, as in Java; where they leap over it, as if they had not yet.
fn instant(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    if let Some(found) = zone.from_local_datetime(&local).latest() {
        return Some(found.to_utc());
    }
    let before = zone.from_local_datetime(&local.checked_sub_days(Days::new(1))?).earliest()?;
    Some(local.checked_sub_offset(before.offset().fix())?.and_utc())
}

fn from_epoch(args: &[ArrayRef]) -> Result<ArrayRef> {
    let epoch = args[0].as_primitive::<Int64Type>();
    let precision = args.get(1).map(|precision| precision.as_primitive::<Int64Type>());
    let rows = (0..epoch.len()).map(|row| {
        if epoch.is_null(row) || precision.is_some_and(|precision| precision.is_null(row)) {
            return Ok(None);
        }
        let epoch = epoch.value(row);
        match precision.map_or(3, |precision| precision.value(row)) {
            0 => Ok(epoch.checked_mul(1_000)),
            3 => Ok(Some(epoch)),
            6 => Ok(Some(epoch.div_euclid(1_000))),
            9 => Ok(Some(epoch.div_euclid(1_000_000))),
            other => exec_err!("TO_TIMESTAMP_LTZ: precision {other} is none of 0, 3, 6, 9"),
        }
    });
    Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Epoch,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
}

impl Unit {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name.to_uppercase().as_str() {
            "MILLISECOND" | "MILLISECONDS" => Self::Millisecond,
            "SECOND" | "SECONDS" => Self::Second,
            "MINUTE" | "MINUTES" => Self::Minute,
            "HOUR" | "HOURS" => Self::Hour,
            "DAY" | "DAYS" => Self::Day,
            "WEEK" | "WEEKS" => Self::Week,
            "MONTH" | "MONTHS" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" | "YEARS" => Self::Year,
            "EPOCH" => Self::Epoch,
            "DOW" | "DAYOFWEEK" => Self::DayOfWeek,
            "ISODOW" => Self::IsoDayOfWeek,
            "DOY" | "DAYOFYEAR" => Self::DayOfYear,
            other => {
                return exec_err!("`{other}` is no unit: use YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE or SECOND");
            }
        })
    }

    const fn fixed(self) -> Option<i64> {
        match self {
            Self::Millisecond => Some(1),
            Self::Second => Some(1_000),
            Self::Minute => Some(60_000),
            Self::Hour => Some(3_600_000),
            Self::Day => Some(DAY),
            Self::Week => Some(7 * DAY),
            _ => None,
        }
    }

    const fn months(self) -> Option<i64> {
        match self {
            Self::Month => Some(1),
            Self::Quarter => Some(3),
            Self::Year => Some(12),
            _ => None,
        }
    }
}

fn calendar(millis: i64) -> Result<NaiveDateTime> {
    let time = DateTime::from_timestamp_millis(millis);
    time.map(|time| time.naive_utc()).ok_or_else(|| exec_datafusion_err!("{millis} ms is no time of the calendar"))
}

fn field(unit: Unit, time: NaiveDateTime) -> Result<i64> {
    Ok(match unit {
        Unit::Millisecond => i64::from(time.and_utc().timestamp_subsec_millis()),
        Unit::Second => i64::from(time.second()),
        Unit::Minute => i64::from(time.minute()),
        Unit::Hour => i64::from(time.hour()),
        Unit::Day => i64::from(time.day()),
        Unit::Week => i64::from(time.iso_week().week()),
        Unit::Month => i64::from(time.month()),
        Unit::Quarter => i64::from(time.month0() / 3 + 1),
        Unit::Year => i64::from(time.year()),
        Unit::Epoch => time.and_utc().timestamp(),
        Unit::DayOfWeek => i64::from(time.weekday().num_days_from_sunday()) + 1,
        Unit::IsoDayOfWeek => i64::from(time.weekday().number_from_monday()),
        Unit::DayOfYear => i64::from(time.ordinal()),
    })
}

fn floor(unit: Unit, millis: i64) -> Result<i64> {
    let date = calendar(millis)?.date();
    let day = match unit {
        Unit::Week => date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_sunday()))),
        Unit::Month => date.with_day(1),
        Unit::Quarter => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1),
        Unit::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        other => {
            return match other.fixed() {
                Some(length) => Ok(millis - millis.rem_euclid(length)),
                None => exec_err!("a time cannot be cut to {other:?}"),
            };
        }
    };
    day.map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
        .ok_or_else(|| exec_datafusion_err!("{millis} ms is no time of the calendar"))
}

fn add(unit: Unit, count: i64, millis: i64) -> Result<i64> {
    let out_of_range = || exec_datafusion_err!("{millis} ms and {count} {unit:?} is no time of the calendar");
    if let Some(length) = unit.fixed() {
        return count.checked_mul(length).and_then(|length| millis.checked_add(length)).ok_or_else(out_of_range);
    }
    let Some(months) = unit.months().and_then(|months| count.checked_mul(months)) else { return Err(out_of_range()) };
    let by = Months::new(u32::try_from(months.unsigned_abs()).map_err(|_| out_of_range())?);
    let time = calendar(millis)?;
    let moved = if months < 0 { time.checked_sub_months(by) } else { time.checked_add_months(by) };
    moved.map(|time| time.and_utc().timestamp_millis()).ok_or_else(out_of_range)
}

/// Whole units from `from` to `to`, cut towards zero.
fn difference(unit: Unit, from: i64, to: i64) -> Result<i64> {
    if let Some(length) = unit.fixed() {
        return to
            .checked_sub(from)
            .map(|gap| gap / length)
            .ok_or_else(|| exec_datafusion_err!("the times are too far from one another"));
    }
    let Some(length) = unit.months() else { return exec_err!("TIMESTAMPDIFF does not count {unit:?}") };
    let months = if to < from { -months_between(to, from)? } else { months_between(from, to)? };
    Ok(months / length)
}

/// Whole months up to a later time. As Calcite's `DateTimeUtils.subtractMonths`: from the 31st to the last day of a month
/// is a whole month.
fn months_between(from: i64, to: i64) -> Result<i64> {
    let (from, to) = (calendar(from)?, calendar(to)?);
    let number = |time: NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
    let months = number(to) - number(from);
    let reached = u32::try_from(months).ok().and_then(|months| from.checked_add_months(Months::new(months)));
    Ok(if reached.is_some_and(|reached| reached <= to) { months } else { months - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_when_they_are_complete() {
        let time = |text: &str| plain(text).expect("a time");
        let months = |from: &str, to: &str| difference(Unit::Month, time(from), time(to)).expect("in range");
        assert_eq!(months("2018-01-31", "2018-02-28"), 1, "as Flink 2.3 says");
        assert_eq!(months("2018-01-31", "2018-02-27"), 0);
        assert_eq!(months("2018-02-28", "2018-01-31"), -1);
        assert_eq!(months("2018-01-15 10:00:00", "2018-03-15 09:59:59"), 1);
        assert_eq!(months("2018-03-15", "2018-01-15"), -2);
        assert_eq!(months("2018-03-15", "2018-01-16"), -1);
    }

    #[test]
    fn times_before_1970_are_cut_downwards() {
        assert_eq!(floor(Unit::Hour, -1).expect("in range"), -3_600_000);
        assert_eq!(floor(Unit::Year, -1).expect("in range"), -365 * DAY);
    }
}
