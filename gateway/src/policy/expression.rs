//! The CEL expressions of rules, `when` and `unless`.
//!
//! What an expression may be is bounded where it is loaded, see `limits`, since nothing bounds its evaluation. What
//! it reads is known from then on, so that an object is fetched only for a rule that asks for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, Program, Value};

use self::limits::Reads;
pub(super) use self::variables::Scope;
use super::judgement::Wants;
use crate::api::v1alpha1::agent_policy::MAX_EXPRESSION;

mod failure;
mod limits;
mod values;
mod variables;

static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

#[derive(Clone, Debug)]
pub(super) struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
    reads: Reads,
}

/// What became of an expression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Is(bool),
    /// It reads what is not learned yet.
    Unknown(Wants),
    /// Why it says nothing, in words that hold no value of an object.
    Failed(String),
}

impl Expression {
    /// The error says what is wrong with the text.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_EXPRESSION {
            return Err(format!("is longer than {MAX_EXPRESSION} bytes"));
        }
        limits::check_shape(text)?;
        let compiled = catch_unwind(|| ENVIRONMENT.compile(text));
        let program = compiled
            .map_err(|_| "cannot be read as CEL".to_owned())?
            .map_err(|errors| failure::syntax(&errors))?;
        let reads = limits::check(program.expression())?;
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
            reads,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// CEL's `&&` and `||` do without a side that they do not need: then a fact that is not learned is not asked for.
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Outcome {
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
            context.set_variable_resolver(scope);
            self.program.execute(&context)
        }));
        let failure = match evaluated {
            Ok(Ok(Value::Bool(value))) => return Outcome::Is(value),
            Ok(Ok(other)) => format!("it gives {}, not true or false", other.type_of()),
            Ok(Err(error)) => failure::execution(&error, &self.text),
            Err(_) => "the evaluation broke off".to_owned(),
        };
        let wants = scope.wants(self.reads);
        if wants.any() {
            return Outcome::Unknown(wants);
        }
        Outcome::Failed(scope.unreadable(self.reads).unwrap_or(failure))
    }
}

#[cfg(test)]
mod tests;
