//! How many of one thing a person does at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::refusal::Refusal;

pub(super) struct Turns {
    most: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// Given back when dropped.
pub(super) struct Turn {
    of: Arc<Turns>,
    user: String,
}

impl Turns {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, user: &str) -> Result<Turn, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(user.to_owned()).or_default();
        if *count >= self.most {
            return Err(Refusal::TooMany(self.most));
        }
        *count += 1;
        Ok(Turn {
            of: Arc::clone(self),
            user: user.to_owned(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = taken.get_mut(&self.user) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            taken.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_has_so_many_and_nobody_takes_anothers() {
        let turns = Turns::new(2);
        let (one, two) = (turns.take("alice"), turns.take("alice"));
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(turns.take("alice"), Err(Refusal::TooMany(2))));
        assert!(turns.take("bob").is_ok());
        drop(one);
        assert!(turns.take("alice").is_ok());
        drop(two);
        assert!(turns.taken.lock().expect("not poisoned").is_empty());
    }
}
