//! Small questions about pieces of syntax, for `reading`.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

pub fn plain(ident: &syn::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

pub fn segments(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|segment| plain(&segment.ident))
        .collect()
}

pub fn lines(span: Span) -> usize {
    span.end().line + 1 - span.start().line
}

pub fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// The path that `tokens` begins with: `a`, `a::b`, … Each further part takes three tokens.
pub fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        path.push(plain(ident));
        if !(is_punct(tokens.get(at + 1), ':') && is_punct(tokens.get(at + 2), ':')) {
            break;
        }
        at += 3;
    }
    path
}

/// True for `#[test]`, `#[tokio::test]`, `#[cfg(test)]` and what contains it, but not for `not(test)`.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let name = segments(attribute.path());
        match &attribute.meta {
            syn::Meta::List(list) if name == ["cfg"] => names_test(list.tokens.clone()),
            _ => name.last().is_some_and(|last| last == "test"),
        }
    })
}

fn names_test(stream: TokenStream) -> bool {
    let mut negated = false;
    stream.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => {
            negated = ident == "not";
            ident == "test"
        }
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            !std::mem::take(&mut negated) && names_test(group.stream())
        }
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// True for `status`, `x.status`, `x.status()`, `x.status().as_u16()`.
pub fn is_called_status(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Path(path) => segments(&path.path)
            .last()
            .is_some_and(|last| last.contains("status")),
        syn::Expr::Field(field) => {
            matches!(&field.member, syn::Member::Named(name) if name.to_string().contains("status"))
        }
        syn::Expr::MethodCall(call) if call.method == "as_u16" => true,
        syn::Expr::MethodCall(call) => call.method.to_string().contains("status"),
        _ => false,
    }
}

pub fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
