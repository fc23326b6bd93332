//! `sallyport.dev/v1alpha1`.

pub mod agent;
pub mod matching;
