//! One question to the server, and the one thing that it answers: the shape of every verb that changes something and shows
//! how it stands then.

use anyhow::Result;
use serde_json::json;

use super::client::{Ask, Client, Server, online};
use super::exit::Exit;
use super::listing;
use super::print::Format;

/// Asks, and prints what is answered.
///
/// # Errors
/// What stood in the way.
pub fn ask_one(server: &Server, ask: Ask, format: Format) -> Result<Exit> {
    online(server, async move |mut client: Client| {
        let answer = client.ask(ask).await?;
        listing::show_one(&answer, format)?;
        Ok(Exit::Good)
    })
}

/// Asks for the change that stands behind `path`. The reason is recorded with it.
///
/// # Errors
/// What stood in the way.
pub fn change(server: &Server, path: String, reason: Option<String>, format: Format) -> Result<Exit> {
    ask_one(server, Ask::post(path, &json!({ "reason": reason }))?, format)
}
