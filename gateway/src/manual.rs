//! Why it is built like this, and what one has to know to run it. Each chapter is about what the code alone does
//! not explain.
//!
//! - [`install`]: a first install in a cluster, what each admission policy promises, and what none does.
//! - [`request_life`]: the order of the pipeline, and what each failure means to the caller.
//! - [`identities`]: whose rights a call uses, and what an agent's token is good for.
//! - [`policies`]: what agents may do, and how much of it is recorded.
//! - [`gate`]: people who decide, secrets that agents do not see, and the stop.
//! - [`evidence`]: what is promised about the record, and what is not promised yet.
//! - [`capture`]: how an agent's connections come to the gateway, and what holds while which part is dead.
//! - [`configuration`]: every field with its default.
//! - [`operation`]: metrics, what kubectl shows when something is wrong, and what to do.

pub mod capture;
pub mod configuration;
pub mod evidence;
pub mod gate;
pub mod identities;
pub mod install;
pub mod operation;
pub mod policies;
pub mod request_life;
