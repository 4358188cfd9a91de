//! The grammar of type names.

use super::error::{ColumnTypeError, is_cut, mended, unknown};
use super::{ColumnType, MAX_DEPTH, RowField};

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<ColumnType, ColumnTypeError> {
    if text.trim().is_empty() {
        return Err(ColumnTypeError::Empty);
    }
    let mut parser = Parser { text, chars: text.chars().collect(), at: 0 };
    let data_type = parser.data_type(0)?;
    parser.skip_space();
    if parser.at < parser.chars.len() {
        return Err(parser.expected("the end"));
    }
    Ok(data_type)
}

struct Parser<'a> {
    text: &'a str,
    chars: Vec<char>,
    at: usize,
}

type Result<T, E = ColumnTypeError> = std::result::Result<T, E>;

impl Parser<'_> {
    fn data_type(&mut self, depth: usize) -> Result<ColumnType> {
        if depth > MAX_DEPTH {
            return Err(ColumnTypeError::TooDeep);
        }
        let data_type = self.bare_type(depth)?;
        if self.keyword("NOT") {
            self.expect_keyword("NULL", "NULL after NOT")?;
            return Ok(ColumnType::NotNull(Box::new(data_type)));
        }
        self.keyword("NULL");
        Ok(data_type)
    }

    fn bare_type(&mut self, depth: usize) -> Result<ColumnType> {
        let Some(name) = self.word() else { return Err(self.expected("the name of a type")) };
        Ok(match name.to_ascii_uppercase().as_str() {
            "BOOLEAN" => ColumnType::Boolean,
            "TINYINT" => ColumnType::TinyInt,
            "SMALLINT" => ColumnType::SmallInt,
            "INT" | "INTEGER" => ColumnType::Int,
            "BIGINT" => ColumnType::BigInt,
            "FLOAT" => ColumnType::Float,
            "DOUBLE" => {
                self.keyword("PRECISION");
                ColumnType::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "STRING" => ColumnType::String,
            "VARCHAR" => ColumnType::Varchar(self.length()?),
            "CHAR" => ColumnType::Char(self.length()?),
            "BYTES" => ColumnType::Bytes,
            "VARBINARY" => self.varbinary()?,
            "DATE" => ColumnType::Date,
            "TIME" => ColumnType::Time(self.precision(0)?),
            "TIMESTAMP" => self.timestamp()?,
            "TIMESTAMP_LTZ" => ColumnType::TimestampLtz(self.precision(6)?),
            "ROW" => self.row(depth)?,
            "ARRAY" => self.array(depth)?,
            "MAP" => self.map(depth)?,
            _ => return Err(unknown(&name)),
        })
    }

    fn decimal(&mut self) -> Result<ColumnType> {
        if !self.symbol('(') {
            return Ok(ColumnType::Decimal { precision: 10, scale: 0 });
        }
        let precision = self.number("the precision", 1, 38)?;
        let scale = if self.symbol(',') { self.number("the scale", 0, precision)? } else { 0 };
        self.expect_symbol(')', "`)`")?;
        Ok(ColumnType::Decimal { precision: precision as u8, scale: scale as u8 })
    }

    fn varbinary(&mut self) -> Result<ColumnType> {
        if self.peek() == Some('(') {
            return Err(ColumnTypeError::NotSupported { name: "VARBINARY(n)".to_owned(), instead: "use BYTES" });
        }
        Ok(ColumnType::Bytes)
    }

    fn length(&mut self) -> Result<u32> {
        if !self.symbol('(') {
            return Ok(1);
        }
        let length = self.number("the length", 1, i32::MAX as u32)?;
        self.expect_symbol(')', "`)`")?;
        Ok(length)
    }

    fn precision(&mut self, default: u8) -> Result<u8> {
        if !self.symbol('(') {
            return Ok(default);
        }
        let precision = self.number("the number of digits of a second", 0, 9)?;
        self.expect_symbol(')', "`)`")?;
        Ok(precision as u8)
    }

    fn timestamp(&mut self) -> Result<ColumnType> {
        let precision = self.precision(6)?;
        let with = self.keyword("WITH");
        if !with && !self.keyword("WITHOUT") {
            return Ok(ColumnType::Timestamp(precision));
        }
        if with {
            self.keyword("LOCAL");
        }
        self.expect_keyword("TIME", "TIME ZONE")?;
        self.expect_keyword("ZONE", "ZONE")?;
        Ok(if with { ColumnType::TimestampLtz(precision) } else { ColumnType::Timestamp(precision) })
    }

    fn row(&mut self, depth: usize) -> Result<ColumnType> {
        let close = if self.symbol('(') {
            ')'
        } else {
            self.expect_symbol('<', "`<` after ROW")?;
            '>'
        };
        let mut fields: Vec<RowField> = Vec::new();
        loop {
            let Some(name) = self.field_name()? else { return Err(self.expected("the name of a field")) };
            if fields.iter().any(|field| field.name == name) {
                return Err(ColumnTypeError::DuplicateField(name));
            }
            let data_type = self.data_type(depth + 1)?;
            self.skip_comment()?;
            fields.push(RowField { name, data_type });
            if self.symbol(close) {
                return Ok(ColumnType::Row(fields));
            }
            self.expect_symbol(',', "`,` or the end of ROW")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<ColumnType> {
        self.expect_symbol('<', "`<` after ARRAY")?;
        let element = self.data_type(depth + 1)?;
        self.expect_symbol('>', "`>`")?;
        Ok(ColumnType::Array(Box::new(element)))
    }

    fn map(&mut self, depth: usize) -> Result<ColumnType> {
        self.expect_symbol('<', "`<` after MAP")?;
        let key = self.data_type(depth + 1)?;
        self.expect_symbol(',', "`,` between the types of MAP")?;
        let value = self.data_type(depth + 1)?;
        self.expect_symbol('>', "`>`")?;
        Ok(ColumnType::Map(Box::new(key), Box::new(value)))
    }

    /// A field's name, plain or within backticks.
    fn field_name(&mut self) -> Result<Option<String>> {
        self.skip_space();
        if self.peek() != Some('`') {
            return Ok(self.word());
        }
        self.quoted('`').map(Some)
    }

    /// A comment after a field, which Flink allows: it is read and left.
    fn skip_comment(&mut self) -> Result<()> {
        self.skip_space();
        if self.peek() == Some('\'') {
            self.quoted('\'')?;
        }
        Ok(())
    }

    /// A text within `quote`s, doubled inside; the opening one is next.
    fn quoted(&mut self, quote: char) -> Result<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(next) = self.chars.get(self.at) else { return Err(self.expected("the closing quote")) };
            self.at += 1;
            if *next != quote {
                text.push(*next);
            } else if self.chars.get(self.at) == Some(&quote) {
                text.push(quote);
                self.at += 1;
            } else {
                return Ok(text);
            }
        }
    }

    fn number(&mut self, what: &'static str, from: u32, to: u32) -> Result<u32> {
        self.skip_space();
        let start = self.at;
        while self.chars.get(self.at).is_some_and(char::is_ascii_digit) {
            self.at += 1;
        }
        if start == self.at {
            return Err(self.expected("a number"));
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        match digits.parse::<u32>() {
            Ok(number) if (from..=to).contains(&number) => Ok(number),
            _ => Err(ColumnTypeError::OutOfRange { text: self.text.to_owned(), what, from, to, found: digits }),
        }
    }

    fn word(&mut self) -> Option<String> {
        self.skip_space();
        let is_word = |c: &&char| c.is_alphanumeric() || **c == '_';
        let word: String = self.chars[self.at..].iter().take_while(is_word).collect();
        self.at += word.chars().count();
        (!word.is_empty()).then_some(word)
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let before = self.at;
        let found = self.word().is_some_and(|word| word.eq_ignore_ascii_case(keyword));
        if !found {
            self.at = before;
        }
        found
    }

    fn expect_keyword(&mut self, keyword: &str, expected: &'static str) -> Result<()> {
        if self.keyword(keyword) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(symbol);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect_symbol(&mut self, symbol: char, expected: &'static str) -> Result<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn expected(&mut self, expected: &'static str) -> ColumnTypeError {
        self.skip_space();
        if self.at >= self.chars.len() && is_cut(&self.chars) {
            return ColumnTypeError::CutByComma { text: self.text.to_owned(), whole: mended(self.text) };
        }
        let found = match self.chars.get(self.at) {
            Some(_) => format!("`{}`", self.chars[self.at..].iter().collect::<String>()),
            None => "the end".to_owned(),
        };
        ColumnTypeError::Syntax { text: self.text.to_owned(), expected, at: self.at + 1, found }
    }
}
