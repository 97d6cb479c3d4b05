//! Media types of artifacts. Pure.

/// A guess from the name, for people who download it; nothing depends on it.
pub fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("txt" | "log") => "text/plain; charset=utf-8",
        Some("tsv") => "text/tab-separated-values",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("jsonl" | "ndjson") => "application/x-ndjson",
        Some("yaml" | "yml") => "application/yaml",
        Some("gz") => "application/gzip",
        Some("zst") => "application/zstd",
        Some("tar") => "application/x-tar",
        Some("pdf") => "application/pdf",
        // Nothing that a browser would execute or render as a page.
        _ => "application/octet-stream",
    }
}
