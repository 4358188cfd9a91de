//! What a JSON string with escapes says.

/// Appends the text of a string's body to `out`; `None` if an escape is unknown, or half of a surrogate pair.
pub(crate) fn unescape(body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = escape(&rest[at + 1..], out)?;
    }
    out.extend_from_slice(rest);
    Some(())
}

/// Takes what follows a backslash.
fn escape<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = rest.split_first()?;
    out.push(match kind {
        b'"' | b'\\' | b'/' => kind,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return code_point(rest, out),
        _ => return None,
    });
    Some(rest)
}

/// Takes `XXXX`, or `XXXX\uXXXX` where the first is a high surrogate.
fn code_point<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (first, mut rest) = hex(rest)?;
    let mut code = first;
    if (0xd800..0xdc00).contains(&first) {
        let (second, after) = hex(rest.strip_prefix(b"\\u")?)?;
        let low = second.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
        code = 0x10000 + ((first - 0xd800) << 10 | low);
        rest = after;
    }
    let mut utf8 = [0; 4];
    out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
    Some(rest)
}

fn hex(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = rest.split_first_chunk::<4>()?;
    let digit = |code: u32, &b: &u8| Some(code << 4 | char::from(b).to_digit(16)?);
    Some((digits.iter().try_fold(0, digit)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(body: &str) -> Option<String> {
        let mut out = Vec::new();
        unescape(body.as_bytes(), &mut out)?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn escapes_say_what_the_rfc_says() {
        assert_eq!(text_of(r#"a\"\\\/\b\f\n\r\tz"#).as_deref(), Some("a\"\\/\u{8}\u{c}\n\r\tz"));
        assert_eq!(text_of(r"\u00e9\u20AC\uD83D\uDE00").as_deref(), Some("é€😀"));
        assert_eq!(text_of(r"\u0000").as_deref(), Some("\0"));
    }

    #[test]
    fn unknown_escapes_and_lone_surrogates_are_refused() {
        for body in [r"\x", r"\", r"\u12", r"\u12g4", r"\ud800", r"\ud800x", r"\ud800\n", r"\ud800\u0041", r"\udc00"] {
            assert_eq!(text_of(body), None, "{body}");
        }
    }
}
