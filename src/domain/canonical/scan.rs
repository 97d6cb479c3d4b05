//! Whether bytes are canonical, told without making a value of them: for whoever reads events by the million.
//!
//! Promises: true exactly when [`super::check`] accepts; allocates nothing; recursion bounded by depth. Says no reason: who
//! needs one asks `check`.

use crate::limits;

/// True when `bytes` are canonical JSON within the profile.
pub fn is_canonical(bytes: &[u8]) -> bool {
    let mut scan = Scan { bytes, at: 0 };
    std::str::from_utf8(bytes).is_ok() && scan.value(0) && scan.at == bytes.len()
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn literal(&mut self, wanted: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    /// A value within `depth` others.
    fn value(&mut self, depth: usize) -> bool {
        match self.peek() {
            Some(b'{') => depth < limits::JSON_DEPTH_MAX && self.object(depth + 1),
            Some(b'[') => depth < limits::JSON_DEPTH_MAX && self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => false,
        }
    }

    /// Members by ascending key, each once.
    fn object(&mut self, depth: usize) -> bool {
        self.at += 1;
        if self.take(b'}') {
            return true;
        }
        let mut before: &[u8] = b"";
        loop {
            let Some(key) = self.key() else { return false };
            if key <= before || !self.take(b':') || !self.value(depth) {
                return false;
            }
            before = key;
            if self.take(b'}') {
                return true;
            }
            if !self.take(b',') {
                return false;
            }
        }
    }

    fn array(&mut self, depth: usize) -> bool {
        self.at += 1;
        if self.take(b']') {
            return true;
        }
        loop {
            if !self.value(depth) {
                return false;
            }
            if self.take(b']') {
                return true;
            }
            if !self.take(b',') {
                return false;
            }
        }
    }

    /// A key in its quotes: letters of its alphabet alone, so none is escaped.
    fn key(&mut self) -> Option<&'a [u8]> {
        if !self.take(b'"') {
            return None;
        }
        let rest = &self.bytes[self.at..];
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
        let length = rest.iter().take_while(|byte| fits(byte)).count();
        let key = &rest[..length];
        self.at += length;
        ((1..=limits::JSON_KEY_BYTES_MAX).contains(&length) && self.take(b'"')).then_some(key)
    }

    /// No sign before zero, no leading zero, no fraction, no exponent, within the bound on integers.
    fn number(&mut self) -> bool {
        let is_negative = self.take(b'-');
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = &rest[..length];
        self.at += length;
        let has_one_form = match digits {
            [] => false,
            [b'0'] => !is_negative,
            [b'0', ..] => false,
            _ => length <= 16,
        };
        let value = |digits: &[u8]| {
            digits
                .iter()
                .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'))
        };
        has_one_form && value(digits) <= limits::JSON_INTEGER_MAX.unsigned_abs()
    }

    fn string(&mut self) -> bool {
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = |byte: &u8| *byte >= 0x20 && !matches!(*byte, b'"' | b'\\' | 0x7f);
            self.at += rest.iter().take_while(|byte| plain(byte)).count();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return true;
                }
                Some(b'\\') if self.escape() => {}
                _ => return false,
            }
        }
    }

    /// One of the two-letter escapes, or `\u00xx` in lower case for a control character that has none.
    fn escape(&mut self) -> bool {
        match self.bytes[self.at + 1..] {
            [b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] => self.at += 2,
            [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..]
            | [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => self.at += 6,
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical::check;

    #[test]
    fn it_agrees_with_the_parser_on_each_spelling_and_on_every_changed_byte_of_one() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let mut texts: Vec<String> = [
            "",
            "null",
            "true",
            "fals",
            "0",
            "-0",
            "-1",
            "01",
            "1.0",
            "1e3",
            "9007199254740991",
            "9007199254740992",
            "-9007199254740991",
            "-9007199254740992",
            "99999999999999999999",
            "-",
            "\"",
            "\"\\u0001\"",
            "\"\\u0008\"",
            "\"\\u000b\"",
            "\"\\u001F\"",
            "\"\\u001f\"",
            "\"\\u0061\"",
            "\"\\/\"",
            "\"\u{7f}\"",
            "\"\\u007f\"",
            "[1,]",
            "[ ]",
            "{}",
            "{\"b\":1,\"a\":2}",
            "{\"a\":1,\"a\":2}",
            "{\"\":1}",
            "{\"a/b\":1}",
            "{\"a\":1} ",
            "[1 ,2]",
        ]
        .map(str::to_owned)
        .to_vec();
        texts.extend([
            deep(32),
            deep(33),
            format!("{{\"{}\":1}}", "k".repeat(64)),
            format!("{{\"{}\":1}}", "k".repeat(65)),
        ]);
        for text in &texts {
            assert_eq!(
                is_canonical(text.as_bytes()),
                check(text.as_bytes()).is_ok(),
                "{text}"
            );
        }
        let good =
            "{\"A\":[1,-2,[],{}],\"a\":{\"b.c\":null,\"d\":\"\u{e9}\u{1f512}\\n\\\"\\u001f\"},\"z\":true}"
                .as_bytes();
        assert!(is_canonical(good));
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut changed = good.to_vec();
                changed[at] = byte;
                let right = check(&changed).is_ok();
                assert_eq!(is_canonical(&changed), right, "byte {at} as {byte}");
            }
            assert!(!is_canonical(&good[..at]));
        }
    }
}
