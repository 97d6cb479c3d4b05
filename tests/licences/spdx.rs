//! SPDX licence expressions: is there a choice among the licences that we allow?
//!
//! Grammar (SPDX 2.3, annex D): `OR` binds weaker than `AND`, `AND` weaker than `WITH`. A slash, which old
//! manifests use, means `OR`.

use std::collections::BTreeSet;

/// The allowed licences by which `expression` is satisfied, or none when there is no such choice.
///
/// # Errors
/// When `expression` is not one.
pub fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> Result<Option<BTreeSet<String>>, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = Words {
        words: spaced.split_whitespace().collect(),
        at: 0,
        allowed,
    };
    let result = words.either()?;
    match words.next() {
        None => Ok(result),
        Some(word) => Err(format!("`{word}` was not expected")),
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a BTreeSet<String>,
}

/// The licences of a choice that is allowed.
type Choice = Option<BTreeSet<String>>;

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    fn take(&mut self, wanted: &str) -> bool {
        let here = self.words.get(self.at) == Some(&wanted);
        self.at += usize::from(here);
        here
    }

    fn either(&mut self) -> Result<Choice, String> {
        let mut choice = self.both()?;
        while self.take("OR") {
            let other = self.both()?;
            choice = choice.or(other);
        }
        Ok(choice)
    }

    fn both(&mut self) -> Result<Choice, String> {
        let mut choice = self.one()?;
        while self.take("AND") {
            let other = self.one()?;
            choice = choice.zip(other).map(|(one, other)| &one | &other);
        }
        Ok(choice)
    }

    fn one(&mut self) -> Result<Choice, String> {
        match self.next() {
            None => Err("the expression ends too early".to_owned()),
            Some("(") => {
                let choice = self.either()?;
                if self.take(")") {
                    Ok(choice)
                } else {
                    Err("a parenthesis is not closed".to_owned())
                }
            }
            Some(word @ (")" | "AND" | "OR" | "WITH")) => Err(format!("`{word}` was not expected")),
            Some(licence) => {
                let whole = if self.take("WITH") {
                    let exception = self.next().ok_or("the expression ends too early")?;
                    format!("{licence} WITH {exception}")
                } else {
                    licence.to_owned()
                };
                Ok(self.allowed.contains(&whole).then(|| BTreeSet::from([whole])))
            }
        }
    }
}

#[test]
fn expressions_are_judged_as_the_grammar_says() {
    let allowed: BTreeSet<String> = ["MIT", "BSD-3-Clause", "GPL-2.0-only WITH Classpath-exception-2.0"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    for (expression, good) in [
        ("MIT", true),
        ("mit", false),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND Apache-2.0", false),
        ("MIT AND BSD-3-Clause", true),
        ("(Apache-2.0 OR MIT) AND BSD-3-Clause", true),
        ("Apache-2.0 OR MIT AND ISC", false),
        ("MIT AND ISC OR BSD-3-Clause", true),
        ("GPL-2.0-only", false),
        ("GPL-2.0-only WITH Classpath-exception-2.0", true),
        ("MIT WITH LLVM-exception", false),
    ] {
        assert_eq!(
            satisfied(expression, &allowed).unwrap().is_some(),
            good,
            "{expression}"
        );
    }
    for broken in [
        "",
        "MIT OR",
        "(MIT",
        "MIT)",
        "AND MIT",
        "MIT ISC",
        "MIT WITH",
        "MIT OR OR ISC",
    ] {
        assert!(satisfied(broken, &allowed).is_err(), "{broken:?}");
    }
}
