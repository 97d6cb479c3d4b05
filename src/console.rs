//! The console's files, carried inside the binary.
//!
//! Answers which bytes stand for a path, in the best encoding that the browser takes. Promises that a
//! release carries exactly the console of its own sources (`build.rs` sees to it); a debug build without one
//! shows a page that says so. It must never read a file at run time, and knows nothing of routes, status
//! codes or of what to do when there is no such file: that is for whoever serves it.

use std::borrow::Cow;

/// The page that a single-page application starts from, whatever the route.
pub const INDEX: &str = "index.html";

/// One file of the console, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    pub bytes: Cow<'static, [u8]>,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// For `Content-Encoding`; none when the bytes are the file itself. The answer varies with
    /// `Accept-Encoding` either way.
    pub encoding: Option<&'static str>,
    /// The name changes with the content, so a browser may keep it for ever.
    pub fingerprinted: bool,
}

/// Finds the file at `path`, which is relative to the console's root; an empty one is [`INDEX`].
///
/// `accept_encoding` is the value of that header, empty when there is none. What cannot be understood in
/// it is taken as not accepted, so the answer is always one that the browser can read.
pub fn find(path: &str, accept_encoding: &str) -> Option<Asset> {
    find_in(&embedded, path, accept_encoding)
}

/// Whether this binary carries the real console.
pub const fn is_built() -> bool {
    cfg!(console_built)
}

/// Encodings that the console's build makes, best first: name in headers, other name, ending of the file.
const ENCODINGS: [(&str, &str, &str); 2] = [("br", "br", ".br"), ("gzip", "x-gzip", ".gz")];

/// Folder whose files the console's build names after their content.
const FINGERPRINTED: &str = "assets/";

type Files<'a> = &'a dyn Fn(&str) -> Option<Cow<'static, [u8]>>;

fn find_in(files: Files<'_>, path: &str, accept_encoding: &str) -> Option<Asset> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { INDEX } else { path };
    let is_variant = ENCODINGS.iter().any(|(_, _, ending)| path.ends_with(ending));
    if is_variant || path.split('/').any(|part| part.starts_with('.')) {
        return None;
    }
    let encoded = ENCODINGS
        .iter()
        .filter(|(name, other, _)| accepts(accept_encoding, name, other))
        .find_map(|(name, _, ending)| files(&format!("{path}{ending}")).map(|bytes| (bytes, Some(*name))));
    let (bytes, encoding) = match encoded {
        Some(found) => found,
        None => (files(path)?, None),
    };
    let fingerprinted = path.starts_with(FINGERPRINTED);
    Some(Asset {
        bytes,
        content_type: content_type(path),
        encoding,
        fingerprinted,
    })
}

/// Whether `header` takes the encoding `name` (RFC 9110, 12.5.3): named with a weight above zero, or not
/// named and covered by `*`.
fn accepts(header: &str, name: &str, other: &str) -> bool {
    let mut any = false;
    for choice in header.split(',') {
        let mut parts = choice.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weighs = parts.all(|parameter| match parameter.split_once('=') {
            Some((key, weight)) if key.trim().eq_ignore_ascii_case("q") => {
                weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)
            }
            _ => true,
        });
        if coding.eq_ignore_ascii_case(name) || coding.eq_ignore_ascii_case(other) {
            return weighs;
        }
        any |= coding == "*" && weighs;
    }
    any
}

/// The media type that the ending of `path` stands for.
fn content_type(path: &str) -> &'static str {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(console_built)]
fn embedded(name: &str) -> Option<Cow<'static, [u8]>> {
    use rust_embed::RustEmbed;

    #[derive(RustEmbed)]
    #[folder = "web/dist"]
    #[exclude = ".*"]
    #[exclude = "*.map"]
    struct Files;

    Files::get(name).map(|file| file.data)
}

#[cfg(not(console_built))]
fn embedded(name: &str) -> Option<Cow<'static, [u8]>> {
    let page: &'static [u8] = include_bytes!("console/placeholder.html");
    (name == INDEX).then_some(Cow::Borrowed(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 8] = [
        "index.html",
        "index.html.br",
        "index.html.gz",
        "assets/app-1.js",
        "assets/app-1.js.gz",
        "icon.svg",
        ".stamp",
        "data.unknown",
    ];

    /// Finds in [`FILES`], whose content is their name.
    fn lookup(path: &str, accept_encoding: &str) -> Option<Asset> {
        let files = |name: &str| {
            FILES
                .iter()
                .find(|file| **file == name)
                .map(|file| file.as_bytes().into())
        };
        find_in(&files, path, accept_encoding)
    }

    #[test]
    fn the_best_accepted_encoding_is_chosen() {
        for (path, accept, file, encoding) in [
            ("index.html", "", "index.html", None),
            ("index.html", "identity", "index.html", None),
            ("index.html", "gzip", "index.html.gz", Some("gzip")),
            ("index.html", "x-gzip", "index.html.gz", Some("gzip")),
            (
                "index.html",
                "gzip, deflate, br, zstd",
                "index.html.br",
                Some("br"),
            ),
            ("index.html", "GZIP;q=1.0, BR;q=0.1", "index.html.br", Some("br")),
            ("index.html", "br;q=0, gzip", "index.html.gz", Some("gzip")),
            ("index.html", "br; q=0.000, *", "index.html.gz", Some("gzip")),
            ("index.html", "*;q=0", "index.html", None),
            ("index.html", "*", "index.html.br", Some("br")),
            ("index.html", "br;q=much", "index.html", None),
            ("index.html", "brotli, \u{fffd}, ;;,", "index.html", None),
            ("assets/app-1.js", "br", "assets/app-1.js", None),
            ("assets/app-1.js", "br, gzip", "assets/app-1.js.gz", Some("gzip")),
            ("icon.svg", "br, gzip", "icon.svg", None),
        ] {
            let asset = lookup(path, accept).unwrap();
            assert_eq!(asset.bytes, file.as_bytes(), "{path} with {accept:?}");
            assert_eq!(asset.encoding, encoding, "{path} with {accept:?}");
        }
    }

    #[test]
    fn the_type_is_that_of_the_file_and_not_of_its_encoding() {
        for (path, wanted) in [
            ("index.html", "text/html; charset=utf-8"),
            ("assets/app-1.js", "text/javascript; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("data.unknown", "application/octet-stream"),
        ] {
            assert_eq!(lookup(path, "br, gzip").unwrap().content_type, wanted, "{path}");
        }
    }

    #[test]
    fn only_files_named_after_their_content_are_kept_for_ever() {
        assert!(lookup("assets/app-1.js", "").unwrap().fingerprinted);
        assert!(!lookup("index.html", "br").unwrap().fingerprinted);
    }

    #[test]
    fn the_root_is_the_index() {
        assert_eq!(lookup("", "br"), lookup("index.html", "br"));
        assert_eq!(lookup("/", "br"), lookup("/index.html", "br"));
    }

    #[test]
    fn variants_hidden_and_missing_files_are_not_found() {
        for path in [
            "index.html.br",
            ".stamp",
            "assets/../.stamp",
            "assets",
            "runs/1",
            "icon.svg/",
        ] {
            assert_eq!(lookup(path, "br, gzip"), None, "{path}");
        }
    }

    #[test]
    fn this_binary_has_an_index_that_is_a_page() {
        let index = find("", "").unwrap();
        assert!(index.bytes.starts_with(b"<!doctype html>"));
        let text = String::from_utf8(index.bytes.into_owned()).unwrap();
        assert_eq!(text.contains("just build"), !is_built());
    }
}
