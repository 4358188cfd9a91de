//! Sums, differences, products and quotients of decimals, with Flink's types.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, i256};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::row::{Kind, Returns, pure};

/// Digits after the point that a quotient has at least.
const LEAST_SCALE: i16 = 6;
/// Digits that a decimal has at most.
const MOST_DIGITS: i16 = DECIMAL128_MAX_PRECISION as i16;

pub(super) fn functions() -> Vec<ScalarUDF> {
    let two = &[Kind::Number, Kind::Number];
    vec![
        pure("decimal_add", two, 2, Returns::Of(sum), |args| summed(args, i256::checked_add)),
        pure("decimal_subtract", two, 2, Returns::Of(sum), |args| summed(args, i256::checked_sub)),
        pure("decimal_divide", two, 2, Returns::Of(quotient), divide),
        pure("decimal_multiply", two, 2, Returns::Of(product), multiply),
    ]
}

/// The type of a quotient of decimals: `LogicalTypeMerging.findDivisionDecimalType`.
fn quotient(args: &[DataType]) -> Result<DataType> {
    let [(p1, s1), (p2, s2)] = digits(args)?;
    Ok(fitting(p1 - s1 + s2, LEAST_SCALE.max(s1 + p2 + 1)))
}

/// The type of a sum or a difference of decimals: `LogicalTypeMerging.findAdditionDecimalType`.
fn sum(args: &[DataType]) -> Result<DataType> {
    let [(p1, s1), (p2, s2)] = digits(args)?;
    Ok(fitting((p1 - s1).max(p2 - s2) + 1, s1.max(s2)))
}

/// The type of a product of decimals: `LogicalTypeMerging.findMultiplicationDecimalType`.
fn product(args: &[DataType]) -> Result<DataType> {
    let [(p1, s1), (p2, s2)] = digits(args)?;
    let scale = s1 + s2;
    Ok(fitting(p1 + p2 + 1 - scale, scale))
}

/// Digits of two decimals, and how many of them are behind the point.
fn digits(args: &[DataType]) -> Result<[(i16, i16); 2]> {
    let [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)] = args else {
        return plan_err!("{args:?} are no two decimals");
    };
    Ok([(p1, s1), (p2, s2)].map(|(precision, scale)| (i16::from(*precision), i16::from(*scale))))
}

/// The digits of what comes of two decimals, and how many of them are behind the point.
fn digits_of(result: fn(&[DataType]) -> Result<DataType>, args: &[ArrayRef]) -> Result<(u8, i8)> {
    match result(&[args[0].data_type().clone(), args[1].data_type().clone()])? {
        DataType::Decimal128(precision, scale) => Ok((precision, scale)),
        other => plan_err!("{other} is no decimal"),
    }
}

/// A decimal with so many digits before the point and behind it; of those behind, some give way where there are too many
/// (`LogicalTypeMerging.adjustPrecisionScale`).
fn fitting(whole: i16, scale: i16) -> DataType {
    let fits = whole + scale <= MOST_DIGITS;
    let (precision, scale) =
        if fits { (whole + scale, scale) } else { (MOST_DIGITS, (MOST_DIGITS - whole).max(scale.min(LEAST_SCALE))) };
    DataType::Decimal128(u8::try_from(precision).unwrap_or(DECIMAL128_MAX_PRECISION), scale as i8)
}

/// Rounded half up; null where the result has more digits than its type.
fn summed(args: &[ArrayRef], add: fn(i256, i256) -> Option<i256>) -> Result<ArrayRef> {
    let (precision, scale) = digits_of(sum, args)?;
    let (left, right) = (args[0].as_primitive::<Decimal128Type>(), args[1].as_primitive::<Decimal128Type>());
    let most = left.scale().max(right.scale());
    let power = |digits: i8| i256::from_i128(10).checked_pow(u32::try_from(digits).unwrap_or(0)).unwrap_or(i256::ONE);
    let (of_left, of_right, cut) = (power(most - left.scale()), power(most - right.scale()), power(most - scale));
    let sums = left.iter().zip(right).map(|(left, right)| {
        let (left, right) =
            (i256::from_i128(left?).checked_mul(of_left)?, i256::from_i128(right?).checked_mul(of_right)?);
        rounded(add(left, right)?, cut, precision)
    });
    let sums: Decimal128Array = sums.collect();
    Ok(Arc::new(sums.with_precision_and_scale(precision, scale)?))
}

/// Rounded half up; null where the product has more digits than its type.
fn multiply(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (precision, scale) = digits_of(product, args)?;
    let (left, right) = (args[0].as_primitive::<Decimal128Type>(), args[1].as_primitive::<Decimal128Type>());
    let cut = u32::try_from(i16::from(left.scale()) + i16::from(right.scale()) - i16::from(scale)).unwrap_or(0);
    let unit = i256::from_i128(10).checked_pow(cut).unwrap_or(i256::ONE);
    let products = left.iter().zip(right).map(|(left, right)| {
        let whole = i256::from_i128(left?).checked_mul(i256::from_i128(right?))?;
        rounded(whole, unit, precision)
    });
    let products: Decimal128Array = products.collect();
    Ok(Arc::new(products.with_precision_and_scale(precision, scale)?))
}

/// A quotient rounded half up, away from zero; `None` where it has too many digits.
fn rounded(dividend: i256, divisor: i256, precision: u8) -> Option<i128> {
    let (cut, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor).wrapping_abs());
    let away = if dividend.is_negative() == divisor.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    let is_up = rest.wrapping_mul(i256::from_i128(2)) >= divisor.wrapping_abs();
    let value = if is_up { cut.wrapping_add(away) } else { cut }.to_i128()?;
    Decimal128Type::is_valid_decimal_precision(value, precision).then_some(value)
}

/// Rounded half up; null where the quotient has more digits than its type.
fn divide(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (precision, scale) = digits_of(quotient, args)?;
    let (left, right) = (args[0].as_primitive::<Decimal128Type>(), args[1].as_primitive::<Decimal128Type>());
    let shift = u32::try_from(i16::from(scale) - i16::from(left.scale()) + i16::from(right.scale())).unwrap_or(0);
    // At most 38 + 38 digits: always within 256 bits.
    let unit = i256::from_i128(10).checked_pow(shift).unwrap_or(i256::ONE);
    let rows = left.iter().zip(right).map(|(left, right)| {
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        if right == 0 {
            return exec_err!("division by zero");
        }
        let scaled = i256::from_i128(left).checked_mul(unit);
        Ok(scaled.and_then(|scaled| rounded(scaled, i256::from_i128(right), precision)))
    });
    let quotients = rows.collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(quotients.with_precision_and_scale(precision, scale)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(digits: i128, precision: u8, scale: i8) -> ArrayRef {
        let array = Decimal128Array::from(vec![digits]).with_precision_and_scale(precision, scale);
        Arc::new(array.expect("a decimal"))
    }

    fn value(left: ArrayRef, right: ArrayRef) -> Option<String> {
        let quotient = divide(&[left, right]).expect("a quotient");
        let quotient = quotient.as_primitive::<Decimal128Type>();
        quotient.is_valid(0).then(|| quotient.value_as_string(0))
    }

    #[test]
    fn a_quotient_has_the_digits_that_flink_gives_it() {
        // Values and types as Flink 2.3 printed them.
        assert_eq!(value(of(1, 10, 0), of(30, 2, 1)).as_deref(), Some("0.333333"));
        assert_eq!(value(of(100, 10, 2), of(300, 10, 2)).as_deref(), Some("0.3333333333333"));
        let kind = |p1, s1, p2, s2| quotient(&[DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)]);
        assert_eq!(kind(10, 2, 10, 2).expect("a type"), DataType::Decimal128(23, 13));
        assert_eq!(kind(38, 0, 38, 10).expect("a type"), DataType::Decimal128(38, 6));
        assert!(quotient(&[DataType::Int64, DataType::Int64]).is_err());
        let kind = |p1, s1, p2, s2| product(&[DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)]);
        assert_eq!(kind(38, 10, 38, 10).expect("a type"), DataType::Decimal128(38, 6));
        let number = || of(12_345_678_912_345_678_912, 38, 9);
        let product = multiply(&[number(), number()]).expect("a product");
        assert_eq!(product.as_primitive::<Decimal128Type>().value_as_string(0), "152415787806736785452.522501");
    }

    #[test]
    fn halves_go_away_from_zero_and_what_is_too_long_is_null() {
        assert_eq!(value(of(5, 38, 0), of(10_000_000, 38, 0)).as_deref(), Some("0.000001"));
        assert_eq!(value(of(-5, 38, 0), of(10_000_000, 38, 0)).as_deref(), Some("-0.000001"));
        assert_eq!(value(of(4, 38, 0), of(10_000_000, 38, 0)).as_deref(), Some("0.000000"));
        assert_eq!(value(of(10_i128.pow(37), 38, 0), of(1, 38, 38)), None);
        assert!(divide(&[of(1, 5, 0), of(0, 5, 0)]).is_err());
    }
}
