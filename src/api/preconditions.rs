//! Requests that are meant for what the caller has seen, and for nothing else (RFC 9110, 13.1.1).

use axum::http::{HeaderMap, StatusCode, header};

use super::error::ApiError;
use super::negotiate::parts;

/// What a request says of the thing that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// However it stands.
    Any,
    /// As it stands now.
    This,
}

/// Lets a request through whose `If-Match` names what stands here: its entity tag, or `*` for whatever is there. Weak tags
/// name nothing.
///
/// # Errors
/// 412: it names something else.
pub fn check_if_match(headers: &HeaderMap, tag: Option<&str>) -> Result<Meant, ApiError> {
    let Some(field) = headers.get(header::IF_MATCH) else {
        return Ok(Meant::Any);
    };
    // What is no text names nothing.
    let text = field.to_str().unwrap_or_default();
    match tag {
        Some(_) if text.trim() == "*" => Ok(Meant::Any),
        Some(tag) if parts(text, ',').any(|one| one.trim() == tag) => Ok(Meant::This),
        _ => Err(ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "it does not stand as If-Match says",
        )),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_is_named_is_meant() {
        let (tag, refused) = (Some("\"17\""), None);
        for (field, tag, meant) in [
            (None, tag, Some(Meant::Any)),
            (None, None, Some(Meant::Any)),
            (Some("\"17\""), tag, Some(Meant::This)),
            (Some("\"16\" ,\"17\""), tag, Some(Meant::This)),
            (Some("*"), tag, Some(Meant::Any)),
            (Some(" * "), tag, Some(Meant::Any)),
            (Some("*"), None, refused),
            (Some("\"17\""), None, refused),
            (Some("W/\"17\""), tag, refused),
            (Some("17"), tag, refused),
            (Some("\"16,\"17\"\""), tag, refused),
            (Some(""), tag, refused),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(field) = field {
                headers.insert(header::IF_MATCH, HeaderValue::from_static(field));
            }
            assert_eq!(check_if_match(&headers, tag).ok(), meant, "{field:?} {tag:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_bytes(b"\"17\"\xff").unwrap());
        let error = check_if_match(&headers, tag).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.code()),
            (412, "precondition_failed")
        );
    }
}
