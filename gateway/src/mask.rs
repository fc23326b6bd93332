//! The only maker of [`Masked`]: nothing reaches a record that has not been through here.

use serde::Serialize;

/// A value that has been through the masker, also when nothing in it had to be hidden.
///
/// The field is private and every constructor is in this module, so a type that holds a `Masked`
/// cannot be filled with raw bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Masked<T>(T);

impl<T> Masked<T> {
    pub fn get(&self) -> &T {
        &self.0
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}
