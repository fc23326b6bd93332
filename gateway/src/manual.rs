//! Why it is built like this. Each chapter is about a decision that the code alone does not explain.
//!
//! - [`request_life`]: the order of the pipeline, and what each failure means to the caller.
//! - [`identities`]: whose rights a call uses, and what an agent's token is good for.
//! - [`evidence`]: what is promised about the record, and what is not promised yet.

pub mod evidence;
pub mod identities;
pub mod request_life;
