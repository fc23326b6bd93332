//! What an expression may be, so that its evaluation is bounded: no comprehension in the body of another, regular
//! expressions that are written out, a few functions, and only what exists.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};

use super::variables::{VARIABLES, fields_of};
use crate::{
    api::v1alpha1::approval_request::RiskLevel,
    request_info::{METHODS, RESOURCE_VERBS},
};

/// Of the tree; a chain of `&&` or `||` is balanced by the parser and not deep.
const MAX_DEPTH: usize = 64;
/// The parser goes as deep as operators, selections and indices follow one another. These are counted in the text.
const MAX_CHAIN: usize = 800;
const CHAINING: &[u8] = b".+-*/%[!?<>=";
const MAX_REGEX: usize = 256;

const FUNCTIONS: &[&str] = &[
    "contains",
    "double",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "uint",
];
const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
];

/// Which facts an expression reads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Reads {
    pub(super) object: bool,
    pub(super) old_object: bool,
    pub(super) risk: bool,
}

/// What must hold of the text before it is parsed.
pub(super) fn check_shape(text: &str) -> Result<(), String> {
    let chaining = text.bytes().filter(|byte| CHAINING.contains(byte));
    if chaining.count() > MAX_CHAIN {
        return Err("has too many operators; make it several rules".to_owned());
    }
    Ok(())
}

/// What the tree reads, or why it is refused.
pub(super) fn check(root: &IdedExpr) -> Result<Reads, String> {
    check_result(root)?;
    let mut walk = Walk::default();
    walk.visit(root, 0, false)?;
    Ok(walk.reads)
}

#[derive(Default)]
struct Walk<'a> {
    reads: Reads,
    /// The variables of comprehensions.
    bound: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, node: &'a IdedExpr, depth: usize, in_body: bool) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("is nested too deeply; make it several rules".to_owned());
        }
        let below = depth + 1;
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.identifier(name),
            Expr::Select(select) => {
                self.check_field(select)?;
                self.visit(&select.operand, below, in_body)
            }
            Expr::Call(call) => {
                check_function(call)?;
                self.check_words(call)?;
                let parts = call.target.iter().map(|target| &**target).chain(&call.args);
                self.visit_all(parts, below, in_body)
            }
            Expr::List(list) => self.visit_all(&list.elements, below, in_body),
            Expr::Map(map) => {
                let parts = map.entries.iter().flat_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                    EntryExpr::StructField(field) => vec![&field.value],
                });
                self.visit_all(parts, below, in_body)
            }
            Expr::Comprehension(_) if in_body => Err(
                "goes through a list inside going through a list, which could take forever; make it several rules"
                    .to_owned(),
            ),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, below),
            Expr::Struct(_) | Expr::Unspecified => {
                Err("has a struct literal, which is not allowed; compare fields one by one".to_owned())
            }
        }
    }

    fn visit_all(
        &mut self,
        nodes: impl IntoIterator<Item = &'a IdedExpr>,
        depth: usize,
        in_body: bool,
    ) -> Result<(), String> {
        nodes
            .into_iter()
            .try_for_each(|node| self.visit(node, depth, in_body))
    }

    fn comprehension(&mut self, of: &'a ComprehensionExpr, depth: usize) -> Result<(), String> {
        self.visit(&of.iter_range, depth, false)?;
        let before = self.bound.len();
        self.bound
            .extend([of.iter_var.as_str(), of.accu_var.as_str()]);
        self.bound.extend(of.iter_var2.as_deref());
        let body = [&of.accu_init, &of.loop_cond, &of.loop_step, &of.result];
        let visited = self.visit_all(body, depth, true);
        self.bound.truncate(before);
        visited
    }

    fn identifier(&mut self, name: &str) -> Result<(), String> {
        if self.bound.contains(&name) {
            return Ok(());
        }
        match name {
            "object" => self.reads.object = true,
            "oldObject" => self.reads.old_object = true,
            "risk" => self.reads.risk = true,
            _ if VARIABLES.contains(&name) => {}
            _ => {
                return Err(format!(
                    "reads {name:?}, which does not exist; there are {}",
                    VARIABLES.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// A field of something whose fields are all known.
    fn check_field(&self, select: &SelectExpr) -> Result<(), String> {
        let Some(path) = self.path(&select.operand) else {
            return Ok(());
        };
        match fields_of(&path) {
            Some(fields) if !fields.contains(&select.field.as_str()) => Err(format!(
                "reads {path}.{}, which does not exist; there are {}",
                select.field,
                fields.join(", ")
            )),
            _ => Ok(()),
        }
    }

    /// A word that what it is compared with never is: the rule would not be what its author means.
    fn check_words(&self, call: &CallExpr) -> Result<(), String> {
        let [left, right] = &call.args[..] else {
            return Ok(());
        };
        let words = match (call.func_name.as_str(), &right.expr) {
            (operators::EQUALS | operators::NOT_EQUALS, _) => vec![left, right],
            (operators::IN, Expr::List(list)) => list.elements.iter().collect(),
            _ => return Ok(()),
        };
        for path in [left, right].into_iter().filter_map(|side| self.path(side)) {
            let Some(known) = words_of(&path) else {
                continue;
            };
            let unknown = words.iter().filter_map(|node| word(node));
            if let Some(unknown) = unknown.into_iter().find(|word| !known.contains(word)) {
                return Err(format!(
                    "compares {path} with {unknown:?}, which it never is; there are {}",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn path(&self, node: &IdedExpr) -> Option<String> {
        match &node.expr {
            Expr::Ident(name) => (!self.bound.contains(&name.as_str())).then(|| name.clone()),
            Expr::Select(select) => {
                Some(format!("{}.{}", self.path(&select.operand)?, select.field))
            }
            _ => None,
        }
    }
}

/// All that something can be.
fn words_of(path: &str) -> Option<Vec<&'static str>> {
    match path {
        "request.verb" => Some([&RESOURCE_VERBS[..], &METHODS[..]].concat()),
        "risk.level" => Some(RiskLevel::ALL.map(RiskLevel::as_str).to_vec()),
        _ => None,
    }
}

fn word(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(word)) => Some(word.inner()),
        _ => None,
    }
}

/// A condition that is written out as something else than true or false never holds.
fn check_result(root: &IdedExpr) -> Result<(), String> {
    let is_other = match &root.expr {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) => true,
        _ => false,
    };
    match is_other {
        true => Err("is never true or false; write a comparison".to_owned()),
        false => Ok(()),
    }
}

fn check_function(call: &CallExpr) -> Result<(), String> {
    let name = call.func_name.as_str();
    if !FUNCTIONS.contains(&name) && !OPERATORS.contains(&name) {
        return Err(format!(
            "uses {name:?}, which is not allowed; there are {}, and has, all, exists, exists_one, filter and map",
            FUNCTIONS.join(", ")
        ));
    }
    if name == "matches" {
        return check_regex(call);
    }
    Ok(())
}

fn check_regex(call: &CallExpr) -> Result<(), String> {
    let Some(Expr::Literal(LiteralValue::String(regex))) = call.args.last().map(|arg| &arg.expr)
    else {
        return Err("gives matches a regular expression that is not written out".to_owned());
    };
    if regex.inner().len() > MAX_REGEX {
        return Err(format!(
            "has a regular expression of more than {MAX_REGEX} bytes"
        ));
    }
    is_regex(regex.inner())
        .then_some(())
        .ok_or_else(|| format!("has {:?}, which is not a regular expression", regex.inner()))
}

/// Asked of the interpreter itself.
fn is_regex(regex: &str) -> bool {
    let call = Expr::Call(CallExpr {
        func_name: "matches".to_owned(),
        target: Some(Box::new(literal(""))),
        args: vec![literal(regex)],
    });
    let node = IdedExpr { id: 1, expr: call };
    let context = cel::Context::with_env(std::sync::Arc::clone(&super::ENVIRONMENT));
    cel::Value::resolve(&node, &context).is_ok()
}

fn literal(text: &str) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::String(text.to_owned().into())),
    }
}
