//! What is wrong with a pack, and where: several findings at once where that is possible.

use std::fmt;

use crate::limits;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)*) => {
        /// Why a pack is refused. The codes are stable and part of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum PackCode {
            $($(#[$doc])* $variant,)*
        }

        impl PackCode {
            /// Every code.
            pub const ALL: &'static [PackCode] = &[$(PackCode::$variant),*];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(PackCode::$variant => $code,)* }
            }
        }
    };
}

codes! {
    /// More bytes, items, levels or characters than a stated bound.
    TooLarge = "too_large";
    /// Neither YAML nor JSON, or more than one document.
    Syntax = "pack_syntax";
    /// The same key twice in one mapping.
    DuplicateKey = "duplicate_key";
    /// A field that packs do not have.
    UnknownField = "unknown_field";
    /// A field that must be there.
    MissingField = "missing_field";
    /// A value of another type than the field has.
    WrongType = "wrong_type";
    /// A value that the field cannot have.
    InvalidValue = "invalid_value";
    /// A number, duration or size beyond its bounds.
    OutOfRange = "out_of_range";
    /// A name outside its alphabet or length, or reserved.
    InvalidName = "invalid_name";
    /// A name that is taken.
    DuplicateName = "duplicate_name";
    /// A need that names no step.
    UnknownNeed = "unknown_need";
    /// Steps that wait for each other.
    Cycle = "cycle";
    /// Not exactly one of `run`, `shell`, `gate`.
    OneAction = "one_action";
    /// A path that is not relative, or leaves the work folder.
    InvalidPath = "invalid_path";
    /// An expression inside a shell text, where it could inject.
    InterpolationInShell = "interpolation_in_shell";
    /// An expression that cannot be read, or is beyond its bounds.
    InvalidExpression = "invalid_expression";
    /// An expression that looks at an input that is not declared, or at a step that is not among the needs.
    UnknownReference = "unknown_reference";
    /// Part of the format, but this version cannot run it yet.
    NotSupported = "not_supported";
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackError {
    /// Stable code.
    pub code: PackCode,
    /// For people: what is wrong, and what would be right.
    pub message: String,
    /// Line in the source, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// JSON pointer to the value; empty for the whole document.
    pub pointer: String,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        if !self.pointer.is_empty() {
            write!(f, " ({})", self.pointer)?;
        }
        Ok(())
    }
}

/// All findings, in the order of the source. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PackErrors(Vec<PackError>);

impl PackErrors {
    /// The findings, in the order of the source.
    pub fn all(&self) -> &[PackError] {
        &self.0
    }
}

impl From<PackError> for PackErrors {
    fn from(error: PackError) -> Self {
        PackErrors(vec![error])
    }
}

impl fmt::Display for PackErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// Findings while they are gathered; at most [`limits::PACK_ERRORS_MAX`] are kept.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<PackError>);

impl Findings {
    pub(super) fn add(&mut self, error: PackError) {
        if !self.is_full() {
            self.0.push(error);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() == limits::PACK_ERRORS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_errors(mut self) -> PackErrors {
        self.0.sort_by_key(|error| (error.line, error.column));
        PackErrors(self.0)
    }
}
