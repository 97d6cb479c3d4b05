//! Expressions of packs: CEL, held to a bounded and deterministic part of it.
//!
//! Owns what may stand in `when`, `map.over` and `${{ }}`, and what it comes to. An expression is checked when its pack is
//! registered and evaluated once, in `decide`; what it came to goes into an event, so replay never comes here.
//!
//! Promises: the same text over the same facts gives the same value, in time bounded by [`limits`]. For that, loops run over
//! lists alone (maps have no order), do not stand in each other, and `+` within one joins only loop variable and literals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::objects::{Key, Map};
use cel::{Context, Program};

use crate::domain::canonical::{Value, text_fits, write};
use crate::limits;

/// Names that an expression can begin with, besides the name that a map gives its item.
pub(super) const ROOTS: [&str; 4] = ["inputs", "run", "sealed", "steps"];

/// Functions and operators of CEL that packs have. No `matches`: a pattern has no bound on its time. No doubles.
const FUNCTIONS: [&str; 25] = [
    "!_",
    "-_",
    "@in",
    "@not_strictly_false",
    "_!=_",
    "_%_",
    "_&&_",
    "_*_",
    "_+_",
    "_-_",
    "_/_",
    "_<=_",
    "_<_",
    "_==_",
    "_>=_",
    "_>_",
    "_?_:_",
    "_[_]",
    "_||_",
    "contains",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
];

/// What an expression looks at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Inputs of the run.
    pub inputs: BTreeMap<String, Value>,
    /// The item that a map is at, under its name.
    pub item: Option<(String, Value)>,
    /// The run itself: `id` and `pack`.
    pub run: BTreeMap<String, Value>,
    /// Steps that have ended: `status` and `outputs`.
    pub steps: BTreeMap<String, Value>,
}

/// What a checked expression refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct References {
    pub(super) inputs: BTreeSet<String>,
    pub(super) steps: BTreeSet<String>,
    /// Steps whose outputs a loop runs over.
    loops: BTreeSet<String>,
}

/// Checks an expression; `item` is the name that a map gives its item.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn check(source: &str, item: Option<&str>) -> Result<References, String> {
    let program = compile(source)?;
    references(&program, item)
}

fn references(program: &Program, item: Option<&str>) -> Result<References, String> {
    let mut walk = Walk {
        item,
        nodes: 0,
        references: References::default(),
    };
    walk.visit(program.expression(), &mut Vec::new(), Loop::None)?;
    Ok(walk.references)
}

/// Evaluates a checked expression.
///
/// # Errors
/// Why it has no value: a name that is not there, types that do not fit, a double, more than a bound.
pub fn evaluate(source: &str, facts: &Facts) -> Result<Value, String> {
    let size = |values: &BTreeMap<String, Value>| -> usize {
        values
            .iter()
            .map(|(name, value)| name.len() + write(value).len())
            .sum()
    };
    if size(&facts.inputs) + size(&facts.steps) > limits::EXPRESSION_FACTS_BYTES_MAX {
        return Err(format!(
            "it looks at more than {} bytes",
            limits::EXPRESSION_FACTS_BYTES_MAX
        ));
    }
    let program = compile(source)?;
    let item = facts.item.as_ref().map(|(name, _)| name.as_str());
    for step in references(&program, item)?.loops {
        let outputs = facts.steps.get(&step).and_then(|step| step.get("outputs"));
        if !matches!(outputs, Some(Value::Array(_))) {
            return Err(format!("the outputs of {step} are no list"));
        }
    }
    let mut context = Context::default();
    context.add_variable_from_value("inputs", object(&facts.inputs));
    context.add_variable_from_value("run", object(&facts.run));
    context.add_variable_from_value("steps", object(&facts.steps));
    // The kernel sandbox and sealed mode come later; until then no run is sealed.
    context.add_variable_from_value("sealed", cel::Value::Bool(false));
    if let Some((name, value)) = &facts.item {
        context.add_variable_from_value(name.as_str(), to_cel(value));
    }
    let found = program
        .execute(&context)
        .map_err(|error| clip(&error.to_string()))?;
    let value = from_cel(&found)?;
    if write(&value).len() > limits::EXPRESSION_RESULT_BYTES_MAX {
        return Err(format!(
            "it comes to more than {} bytes",
            limits::EXPRESSION_RESULT_BYTES_MAX
        ));
    }
    Ok(value)
}

fn compile(source: &str) -> Result<Program, String> {
    if source.len() > limits::EXPRESSION_BYTES_MAX {
        return Err(format!(
            "an expression has at most {} bytes",
            limits::EXPRESSION_BYTES_MAX
        ));
    }
    Program::compile(source).map_err(|errors| match errors.errors.first() {
        Some(first) => format!(
            "at {}:{} of the expression: {}",
            first.pos.0,
            first.pos.1,
            clip(&first.msg)
        ),
        None => "this is no expression".to_owned(),
    })
}

/// Errors of the library show the values they are about, which may be long.
fn clip(text: &str) -> String {
    let line: String = text.chars().filter(|letter| !letter.is_control()).collect();
    line[..line.floor_char_boundary(300)].to_owned()
}

/// Where in a loop the walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loop {
    None,
    Within,
}

struct Walk<'a> {
    item: Option<&'a str>,
    nodes: usize,
    references: References,
}

impl Walk<'_> {
    /// `bound` are the names of loops around. Depth is bounded by the parser.
    fn visit(&mut self, at: &IdedExpr, bound: &mut Vec<String>, within: Loop) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > limits::EXPRESSION_NODES_MAX {
            return Err(format!(
                "an expression has at most {} nodes",
                limits::EXPRESSION_NODES_MAX
            ));
        }
        if let Some((root, name)) = member_of_root(&at.expr) {
            self.refer(root, name);
            return Ok(());
        }
        match &at.expr {
            Expr::Unspecified => Ok(()),
            Expr::Literal(LiteralValue::Double(_)) => {
                Err("doubles are not part of it; use integers".to_owned())
            }
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.ident(name, bound),
            Expr::Select(select) => self.visit(&select.operand, bound, within),
            Expr::List(list) => self.all(&list.elements, bound, within),
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(format!("there is no function {} in packs", clip(&call.func_name)));
                }
                // Loops are written with calls of their own: joining what has been gathered is the library's part.
                if within == Loop::Within && call.func_name == "_+_" {
                    let mut joined = call.args.iter();
                    if !joined.all(|part| is_small(&part.expr, bound)) {
                        return Err("within a loop + joins the loop's variable and literals only".to_owned());
                    }
                }
                if let Some(target) = &call.target {
                    self.visit(target, bound, within)?;
                }
                self.all(&call.args, bound, within)
            }
            Expr::Comprehension(comprehension) => {
                if within == Loop::Within {
                    return Err("loops do not stand in each other".to_owned());
                }
                if !is_list(&comprehension.iter_range.expr) || comprehension.iter_var2.is_some() {
                    let message =
                        "a loop runs over inputs.<name>, steps.<id>.outputs of a mapped step, or a list";
                    return Err(message.to_owned());
                }
                if let Expr::Select(select) = &comprehension.iter_range.expr
                    && let Some(("steps", step)) = member_of_root(&select.operand.expr)
                {
                    self.references.loops.insert(step.to_owned());
                }
                self.visit(&comprehension.iter_range, bound, Loop::Within)?;
                bound.push(comprehension.iter_var.clone());
                bound.push(comprehension.accu_var.clone());
                self.visit(&comprehension.accu_init, bound, Loop::Within)?;
                self.visit(&comprehension.loop_cond, bound, Loop::Within)?;
                self.visit(&comprehension.loop_step, bound, Loop::Within)?;
                self.visit(&comprehension.result, bound, Loop::Within)?;
                bound.truncate(bound.len() - 2);
                Ok(())
            }
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(_) | EntryExpr::StructField(_) => {
                    Err("maps are not part of it".to_owned())
                }
            }),
            Expr::Struct(_) => Err("messages are not part of it".to_owned()),
        }
    }

    fn all(&mut self, several: &[IdedExpr], bound: &mut Vec<String>, within: Loop) -> Result<(), String> {
        several.iter().try_for_each(|one| self.visit(one, bound, within))
    }

    fn ident(&self, name: &str, bound: &[String]) -> Result<(), String> {
        let known = name == "sealed" || self.item == Some(name) || bound.iter().any(|bound| bound == name);
        if known {
            return Ok(());
        }
        Err(match name {
            "inputs" | "steps" | "run" => {
                format!("{name} is followed by a name, as in {name}.x or {name}[\"a-b\"]")
            }
            _ => format!("there is no {}; known: {}", clip(name), ROOTS.join(", ")),
        })
    }

    fn refer(&mut self, root: &str, name: &str) {
        match root {
            "inputs" => self.references.inputs.insert(name.to_owned()),
            "steps" => self.references.steps.insert(name.to_owned()),
            _ => true,
        };
    }
}

/// `inputs.x`, `steps["a-b"]`, `run.id`.
fn member_of_root(expr: &Expr) -> Option<(&str, &str)> {
    let (root, name) = match expr {
        Expr::Select(select) => (&select.operand.expr, select.field.as_str()),
        Expr::Call(call) if call.func_name == "_[_]" => match call.args.as_slice() {
            [
                root,
                IdedExpr {
                    expr: Expr::Literal(LiteralValue::String(name)),
                    ..
                },
            ] => (&root.expr, name.inner()),
            _ => return None,
        },
        _ => return None,
    };
    match root {
        Expr::Ident(root) if ["inputs", "run", "steps"].contains(&root.as_str()) => Some((root, name)),
        _ => None,
    }
}

/// What a loop may run over. That it really is a list is seen when it is evaluated.
fn is_list(expr: &Expr) -> bool {
    match expr {
        Expr::List(_) => true,
        Expr::Select(select) if select.field == "outputs" => {
            matches!(member_of_root(&select.operand.expr), Some(("steps", _)))
        }
        other => matches!(member_of_root(other), Some(("inputs", _))),
    }
}

/// No longer than what is written, or than an item of the list: joined it stays in proportion to the list.
fn is_small(expr: &Expr, bound: &[String]) -> bool {
    match expr {
        Expr::Literal(_) => true,
        Expr::Ident(name) => bound.contains(name),
        Expr::List(list) => list.elements.len() <= 1,
        Expr::Call(call) => {
            ["_+_", "string"].contains(&call.func_name.as_str())
                && call
                    .args
                    .iter()
                    .chain(call.target.as_deref())
                    .all(|part| is_small(&part.expr, bound))
        }
        Expr::Select(select) => is_small(&select.operand.expr, bound),
        Expr::Unspecified | Expr::Comprehension(_) | Expr::Map(_) | Expr::Struct(_) => false,
    }
}

fn object(members: &BTreeMap<String, Value>) -> cel::Value {
    let members = members
        .iter()
        .map(|(name, value)| (Key::String(Arc::new(name.clone())), to_cel(value)));
    cel::Value::Map(Map {
        map: Arc::new(members.collect()),
    })
}

fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Int(number) => cel::Value::Int(*number),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(members) => object(members),
    }
}

/// Scalars, and lists of them.
fn from_cel(value: &cel::Value) -> Result<Value, String> {
    match value {
        cel::Value::Bool(truth) => Ok(Value::Bool(*truth)),
        cel::Value::Int(number) => whole(*number),
        cel::Value::UInt(number) => whole(i64::try_from(*number).unwrap_or(i64::MAX)),
        cel::Value::String(text) if text_fits(text) && !text.contains('\0') => {
            Ok(Value::String(text.to_string()))
        }
        cel::Value::String(_) => Err("it comes to text with U+0000 or U+007F".to_owned()),
        cel::Value::List(items) if items.len() > limits::EXPRESSION_ITEMS_MAX => Err(format!(
            "it comes to more than {} items",
            limits::EXPRESSION_ITEMS_MAX
        )),
        cel::Value::List(items) => {
            let scalars = items.iter().map(|item| match item {
                cel::Value::List(_) => Err("it comes to a list in a list".to_owned()),
                scalar => from_cel(scalar),
            });
            scalars.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        cel::Value::Float(_) => Err("it comes to a double".to_owned()),
        _ => Err("it comes to something that is neither text, integer, truth value nor list".to_owned()),
    }
}

fn whole(number: i64) -> Result<Value, String> {
    if number.unsigned_abs() <= limits::JSON_INTEGER_MAX.unsigned_abs() {
        Ok(Value::Int(number))
    } else {
        Err("it comes to an integer beyond ±(2^53-1)".to_owned())
    }
}

/// A part of a text with `${{ }}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Expression(&'t str),
}

/// Takes a text apart.
///
/// # Errors
/// A `${{` that nothing closes.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(begin) = rest.find("${{") {
        if begin > 0 {
            found.push(Part::Text(&rest[..begin]));
        }
        let inner = &rest[begin + 3..];
        let end = inner
            .find("}}")
            .ok_or_else(|| "${{ is not closed by }}".to_owned())?;
        found.push(Part::Expression(inner[..end].trim()));
        rest = &inner[end + 2..];
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest));
    }
    Ok(found)
}

/// Puts a text together, each `${{ }}` replaced by what it comes to.
///
/// # Errors
/// As [`evaluate`]; a list, which is no text; a text that is too long to be an argument.
pub fn fill(text: &str, facts: &Facts) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text)? {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Expression(source) => match evaluate(source, facts)? {
                Value::String(text) => filled.push_str(&text),
                Value::Int(number) => filled.push_str(&number.to_string()),
                Value::Bool(truth) => filled.push_str(if truth { "true" } else { "false" }),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err("${{ }} takes text, an integer or a truth value".to_owned());
                }
            },
        }
        if filled.len() > limits::ARGUMENT_BYTES_MAX {
            return Err(format!(
                "filled in it has more than {} bytes",
                limits::ARGUMENT_BYTES_MAX
            ));
        }
    }
    Ok(filled)
}
