mod reference;
mod streaming;
mod kubernetes;
mod refusal;
