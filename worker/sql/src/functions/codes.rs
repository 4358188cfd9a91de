//! Texts of other alphabets: hexadecimal, binary, base64, URLs.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use sha1::{Digest, Sha1};
use url::form_urlencoded;

use super::parts::{collected, within};
use super::row::{Kind, Returns, pure};

const TEXT: Returns = Returns::Always(|| DataType::Utf8);
/// Reads with padding and without, as Java's decoder does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        pure("hex", &[Kind::TextOrInt], 1, TEXT, hex),
        pure("bin", &[Kind::Int], 1, TEXT, |args| {
            let numbers = args[0].as_primitive::<Int64Type>();
            Ok(Arc::new(
                numbers.iter().map(|number| number.map(|number| format!("{number:b}"))).collect::<StringArray>(),
            ))
        }),
        pure("sha1", &[Kind::Text], 1, TEXT, |args| {
            each(args, |text| {
                Some(Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
            })
        }),
        pure("to_base64", &[Kind::Text], 1, TEXT, |args| {
            each(args, |text| Some(general_purpose::STANDARD.encode(text).into()))
        }),
        // Null where it is none, or holds no text.
        pure("from_base64", &[Kind::Text], 1, TEXT, |args| {
            each(args, |text| String::from_utf8(BASE64.decode(text).ok()?).ok().map(Cow::Owned))
        }),
        pure("url_encode", &[Kind::Text], 1, TEXT, |args| {
            each(args, |text| Some(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().into()))
        }),
        pure("url_decode", &[Kind::Text], 1, TEXT, |args| each(args, url_decoded)),
    ]
}

/// Of a text its bytes, of a number its two's complement; upper case, without leading zeros.
fn hex(args: &[ArrayRef]) -> Result<ArrayRef> {
    if let Some(numbers) = args[0].as_primitive_opt::<Int64Type>() {
        let texts = numbers.iter().map(|number| number.map(|number| format!("{number:X}")));
        return Ok(Arc::new(texts.collect::<StringArray>()));
    }
    collected(args[0].as_string::<i32>().iter().map(|text| {
        let Some(text) = text else { return Ok(None) };
        let mut digits = String::with_capacity(within("HEX", text.len(), text.len().saturating_mul(2))? * 2);
        text.bytes().try_for_each(|byte| write!(digits, "{byte:02X}"))?;
        Ok(Some(Cow::Owned(digits)))
    }))
}

/// `URLDecoder` of Java; null where `%` begins no byte, or the bytes are no text.
fn url_decoded(text: &str) -> Option<Cow<'_, str>> {
    let digits = |text: &str| text.get(..2).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !text.split('%').skip(1).all(digits) {
        return None;
    }
    // One value without a name.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    let (decoded, _) = form_urlencoded::parse(escaped.as_bytes()).next().unwrap_or_default();
    (!decoded.contains(char::REPLACEMENT_CHARACTER) || text.contains(char::REPLACEMENT_CHARACTER))
        .then(|| Cow::Owned(decoded.into_owned()))
}

fn each(args: &[ArrayRef], run: fn(&str) -> Option<Cow<'_, str>>) -> Result<ArrayRef> {
    collected(args[0].as_string::<i32>().iter().map(|text| Ok(text.and_then(run))))
}
