//! Places on earth.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::exec_err;
use datafusion::logical_expr::ScalarUDF;
use geohash::Coord;

use super::row::{Kind, Returns, pure};

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![pure("geohash", &[Kind::Double, Kind::Double, Kind::Int], 3, Returns::Always(|| DataType::Utf8), |args| {
        let (latitude, longitude) = (args[0].as_primitive::<Float64Type>(), args[1].as_primitive::<Float64Type>());
        let precision = args[2].as_primitive::<Int64Type>();
        let mut out = StringBuilder::with_capacity(latitude.len(), latitude.len() * 8);
        for row in 0..latitude.len() {
            if latitude.is_null(row) || longitude.is_null(row) || precision.is_null(row) {
                out.append_null();
                continue;
            }
            let length = match usize::try_from(precision.value(row)) {
                Ok(length @ 1..=12) => length,
                _ => return exec_err!("GEOHASH: precision {} is not within 1 to 12", precision.value(row)),
            };
            // A place that is not on earth has no hash.
            let place = Coord { x: longitude.value(row), y: latitude.value(row) };
            out.append_option(geohash::encode(place, length).ok());
        }
        Ok(Arc::new(out.finish()))
    })]
}
