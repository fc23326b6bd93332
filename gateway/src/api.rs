//! The objects people write for Sallyport, as plain data: the CRDs and the same YAML read from files.

pub mod alert;
pub mod approval_decision;
pub mod names;
pub mod v1alpha1;
