//! Reads one source file and tells what it mentions: imports, paths, macros, method calls, and its shape.
//!
//! Reads syntax, not text: comments and strings mention nothing, code under `#[cfg(test)]` is marked as
//! such, renamed imports are followed. What syntax cannot show (the inside of macros) is read token by token.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::syntax::{attributes_of, is_called_status, is_punct, is_test, lines, path_at, plain, segments};

/// How something is mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A path in an import or in code.
    Path,
    /// `name!(…)`.
    Macro,
    /// `.name(…)`.
    Method,
    /// `use path::*`.
    Glob,
    /// `use super::*`.
    GlobOfParent,
    /// `async` or `await`.
    Async,
    /// `unsafe`, or an attribute that allows it.
    Unsafe,
    /// A number of an HTTP status beside something called a status.
    StatusNumber,
    /// `#[allow]` or `#[expect]` without a reason.
    UnexplainedAllow,
    /// `#[path = …]`: a module whose place does not follow from its name.
    MovedModule,
}

/// One thing that a file mentions.
#[derive(Debug, Clone)]
pub struct Mention {
    pub kind: Kind,
    /// Absolute where that can be told: `crate::journal::Record` for `super::Record` in `journal/file.rs`.
    pub path: Vec<String>,
    pub line: usize,
    /// Under `#[cfg(test)]` or in a `#[test]`.
    pub test: bool,
}

/// A function and its length.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
    pub test: bool,
}

/// All that the rules need to know of one file.
#[derive(Debug, Default)]
pub struct Facts {
    pub mentions: Vec<Mention>,
    pub functions: Vec<Function>,
    /// Lines of modules under `#[cfg(test)]`.
    pub test_lines: usize,
    /// Modules that are declared here under `#[cfg(test)]` and live in a file of their own.
    pub test_modules: Vec<Vec<String>>,
}

/// Module path of a file under `src/`, without `crate`: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
pub fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || inner == "lib" || inner == "main" {
        module.pop();
    }
    module
}

/// Reads `source`, which stands at `file`. `test_file` says that the whole file is under `#[cfg(test)]`.
///
/// # Errors
/// When the source is not Rust.
pub fn read(file: &str, source: &str, test_file: bool) -> syn::Result<Facts> {
    let syntax = syn::parse_file(source)?;
    let mut reader = Reader {
        module: module_of(file),
        test_depth: usize::from(test_file),
        facts: Facts::default(),
        names: HashMap::new(),
    };
    reader.visit_file(&syntax);
    let Reader { mut facts, names, .. } = reader;
    for mention in &mut facts.mentions {
        let is_path = matches!(
            mention.kind,
            Kind::Path | Kind::Macro | Kind::Glob | Kind::GlobOfParent
        );
        if is_path && let Some(whole) = mention.path.first().and_then(|first| names.get(first)) {
            mention.path.splice(0..1, whole.iter().cloned());
        }
    }
    Ok(facts)
}

struct Reader {
    module: Vec<String>,
    test_depth: usize,
    facts: Facts,
    /// What the imports of this file call things: local name to whole path.
    names: HashMap<String, Vec<String>>,
}

impl Reader {
    fn mention(&mut self, kind: Kind, path: Vec<String>, span: Span) {
        let path = self.absolute(path);
        let (line, test) = (span.start().line, self.test_depth > 0);
        self.facts.mentions.push(Mention {
            kind,
            path,
            line,
            test,
        });
    }

    /// Turns `self`, `super` and the crate's own name into a path from `crate`.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let (keep, skip) = match path.first().map(String::as_str) {
            Some("fastness") => (0, 1),
            Some("self") => {
                let ups = path[1..].iter().take_while(|part| *part == "super").count();
                (self.module.len().saturating_sub(ups), 1 + ups)
            }
            Some("super") => (self.module.len().saturating_sub(ups), ups),
            _ => return path,
        };
        let root = std::iter::once("crate".to_owned());
        root.chain(self.module[..keep].iter().cloned())
            .chain(path[skip..].iter().cloned())
            .collect()
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| [before, &[plain(ident)]].concat();
        match tree {
            syn::UseTree::Path(part) => self.use_tree(&part.tree, &with(&part.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.import(None, before.to_vec(), name.span())
            }
            syn::UseTree::Name(name) => self.import(None, with(&name.ident), name.span()),
            syn::UseTree::Rename(name) => {
                let path = if name.ident == "self" {
                    before.to_vec()
                } else {
                    with(&name.ident)
                };
                self.import(Some(plain(&name.rename)), path, name.span());
            }
            syn::UseTree::Glob(glob) => {
                let kind = if before == ["super"] {
                    Kind::GlobOfParent
                } else {
                    Kind::Glob
                };
                self.mention(kind, before.to_vec(), glob.span());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(item, before)),
        }
    }

    fn import(&mut self, renamed: Option<String>, path: Vec<String>, span: Span) {
        let absolute = self.absolute(path.clone());
        if let Some(name) = renamed.or_else(|| absolute.last().cloned()) {
            self.names.insert(name, absolute);
        }
        self.mention(Kind::Path, path, span);
    }

    /// Reads what syntax does not: the inside of a macro or an attribute.
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => self.literal(literal),
                TokenTree::Ident(ident) if ident == "use" => at += self.use_in_macro(&tokens[at..]),
                TokenTree::Ident(ident) if ident == "async" || ident == "await" => {
                    self.mention(Kind::Async, Vec::new(), ident.span());
                }
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    self.mention(Kind::Unsafe, Vec::new(), ident.span());
                }
                TokenTree::Ident(ident) => {
                    let after_dot = at > 0 && is_punct(tokens.get(at - 1), '.');
                    let path = path_at(&tokens[at..]);
                    let end = at + path.len() * 3 - 2;
                    let kind = match (after_dot, is_punct(tokens.get(end), '!')) {
                        (true, _) => Kind::Method,
                        (false, true) => Kind::Macro,
                        (false, false) => Kind::Path,
                    };
                    self.mention(kind, path, ident.span());
                    at = end - 1;
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }

    /// An import written by a macro. Returns how many further tokens it took.
    fn use_in_macro(&mut self, tokens: &[TokenTree]) -> usize {
        let Some(end) = tokens.iter().position(|token| is_punct(Some(token), ';')) else {
            return 0;
        };
        let text: TokenStream = tokens[..=end].iter().cloned().collect();
        match syn::parse2::<syn::ItemUse>(text) {
            Ok(import) => {
                self.use_tree(&import.tree, &[]);
                end
            }
            Err(_) => 0,
        }
    }

    /// A string that is a path, as in `#[serde(with = "crate::clock")]`.
    fn literal(&mut self, literal: &proc_macro2::Literal) {
        let text = literal.to_string();
        let text = text.trim_matches('"');
        if (text.starts_with("crate::") || text.starts_with("super::"))
            && let Ok(path) = syn::parse_str::<syn::Path>(text)
        {
            self.mention(Kind::Path, segments(&path), literal.span());
        }
    }

    fn in_test(&mut self, test: bool, inside: impl FnOnce(&mut Self)) {
        self.test_depth += usize::from(test);
        inside(self);
        self.test_depth -= usize::from(test);
    }

    fn function(&mut self, sig: &syn::Signature, whole: Span) {
        if let Some(token) = &sig.asyncness {
            self.mention(Kind::Async, Vec::new(), token.span());
        }
        if let Some(token) = &sig.unsafety {
            self.mention(Kind::Unsafe, Vec::new(), token.span());
        }
        let line = sig.fn_token.span().start().line;
        self.facts.functions.push(Function {
            name: plain(&sig.ident),
            line,
            lines: whole.end().line + 1 - line,
            test: self.test_depth > 0,
        });
    }

    /// Notes the numbers of HTTP statuses among `values`, which stand beside something called a status.
    fn status_numbers<'a>(&mut self, values: impl IntoIterator<Item = &'a syn::Expr>) {
        for value in values {
            if let syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Int(number),
                ..
            }) = value
                && number
                    .base10_parse::<u16>()
                    .is_ok_and(|number| (200..600).contains(&number))
            {
                self.mention(Kind::StatusNumber, vec![number.to_string()], number.span());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = attributes_of(item);
        let test = is_test(attributes);
        if test && let syn::Item::Mod(module) = item {
            match &module.content {
                Some(_) => self.facts.test_lines += lines(item.span()),
                None => self
                    .facts
                    .test_modules
                    .push([&self.module[..], &[plain(&module.ident)]].concat()),
            }
        }
        self.in_test(test, |reader| visit::visit_item(reader, item));
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(plain(&module.ident));
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.use_tree(&import.tree, &[]);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, function.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.in_test(is_test(&function.attrs), |reader| {
            reader.function(&function.sig, function.span());
            visit::visit_impl_item_fn(reader, function);
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig, function.span());
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.mention(Kind::Unsafe, Vec::new(), token.span());
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(token) = &item.unsafety {
            self.mention(Kind::Unsafe, Vec::new(), token.span());
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.mention(Kind::Path, segments(path), path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.mention(Kind::Macro, segments(&call.path), call.span());
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let name = segments(attribute.path()).join("::");
        let tokens = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.clone(),
            syn::Meta::NameValue(_) if name == "path" => {
                return self.mention(Kind::MovedModule, Vec::new(), attribute.span());
            }
            syn::Meta::Path(_) | syn::Meta::NameValue(_) => return,
        };
        let text = tokens.to_string();
        if name == "allow" || name == "expect" {
            if !text.contains("reason =") {
                self.mention(Kind::UnexplainedAllow, vec![text.clone()], attribute.span());
            }
            if text.contains("unsafe_code") {
                self.mention(Kind::Unsafe, Vec::new(), attribute.span());
            }
            return;
        }
        if name == "unsafe" {
            self.mention(Kind::Unsafe, Vec::new(), attribute.span());
        }
        self.tokens(tokens);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.mention(Kind::Method, vec![plain(&call.method)], call.method.span());
        if call.method == "status" {
            self.status_numbers(&call.args);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_binary(&mut self, both: &'ast syn::ExprBinary) {
        if is_called_status(&both.left) || is_called_status(&both.right) {
            self.status_numbers([&*both.left, &*both.right]);
        }
        visit::visit_expr_binary(self, both);
    }

    fn visit_expr_match(&mut self, matched: &'ast syn::ExprMatch) {
        if is_called_status(&matched.expr) {
            let numbers = matched.arms.iter().filter_map(|arm| match &arm.pat {
                syn::Pat::Lit(number) => Some(syn::Expr::Lit(number.clone())),
                _ => None,
            });
            self.status_numbers(&numbers.collect::<Vec<_>>());
        }
        visit::visit_expr_match(self, matched);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.mention(Kind::Async, Vec::new(), block.async_token.span());
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.mention(Kind::Async, Vec::new(), expression.await_token.span());
        visit::visit_expr_await(self, expression);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.mention(Kind::Unsafe, Vec::new(), block.unsafe_token.span());
        visit::visit_expr_unsafe(self, block);
    }
}
