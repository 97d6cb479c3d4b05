//! Trust: roots that are refused, each with its code; keys that are replaced on a disk that fails.

mod folder;
mod hostile;
mod recorded;
