//! Which query parameters a route takes: those that the description of the interface names for it, and no others.
//!
//! Asked at the door of every route, so that none can forget it: what is not described is refused, whatever the handler
//! would read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::{Route, openapi};

/// The names of a route's parameters.
pub type Names = Arc<BTreeSet<String>>;

/// The query parameters of all routes.
#[derive(Debug)]
pub struct Described(Description);

/// As much of the description as is asked here.
#[derive(Debug, Deserialize)]
struct Description {
    /// By path, then by method in lower case.
    paths: BTreeMap<String, BTreeMap<String, Operation>>,
}

#[derive(Debug, Deserialize)]
struct Operation {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    #[serde(rename = "in")]
    place: String,
    name: String,
}

impl Described {
    /// Reads the description that the binary carries.
    ///
    /// # Errors
    /// When it is not one, which no test lets through.
    pub fn read() -> Result<Self, serde_json::Error> {
        serde_json::from_str(openapi::DOCUMENT).map(Described)
    }

    /// Those of one route; none where it is not described.
    pub fn of(&self, route: &Route) -> Names {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = self.0.paths.get(route.path).and_then(|path| path.get(&method));
        let parameters = operation.map_or(&[][..], |operation| &operation.parameters);
        let asked = parameters.iter().filter(|parameter| parameter.place == "query");
        Arc::new(asked.map(|parameter| parameter.name.clone()).collect())
    }
}
