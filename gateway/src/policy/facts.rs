//! What is known of a call beyond its request line.

use serde_json::Value;

/// The object that a call is about, as it will be and as it is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// After the change, of a create, update or patch. Other calls have none, whatever is said here.
    pub object: Fact,
    /// Before the change, of an update, patch or delete. It is absent where an apply creates the object.
    pub old_object: Fact,
}

#[derive(Clone, Debug, Default)]
pub enum Fact {
    /// Nobody has looked, or what was found could not be understood.
    #[default]
    NotLearned,
    /// There is no such object.
    Absent,
    Known(Value),
}

impl Fact {
    pub fn known(&self) -> Option<&Value> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::NotLearned => None,
        }
    }

    pub fn is_learned(&self) -> bool {
        !matches!(self, Self::NotLearned)
    }
}
