//! How many of one thing a person does at the same time, and everybody together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::refusal::Refusal;

pub(super) struct Turns {
    most: usize,
    most_of_all: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// Given back when dropped.
pub(super) struct Turn {
    of: Arc<Turns>,
    user: String,
}

impl Turns {
    /// `most` of one person, and `most_of_all` of everybody.
    pub(super) fn new(most: usize, most_of_all: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_all,
            taken: Mutex::default(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, user: &str) -> Result<Turn, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(user).copied().unwrap_or_default();
        if own >= self.most {
            return Err(Refusal::TooMany(self.most));
        }
        if taken.values().sum::<usize>() >= self.most_of_all {
            return Err(Refusal::TooManyOfAll(self.most_of_all));
        }
        taken.insert(user.to_owned(), own + 1);
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
    fn each_person_has_so_many_and_everybody_together() {
        let turns = Turns::new(2, 3);
        let (one, two) = (turns.take("alice"), turns.take("alice"));
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(turns.take("alice"), Err(Refusal::TooMany(2))));
        let three = turns.take("bob");
        assert!(three.is_ok());
        assert!(matches!(turns.take("eve"), Err(Refusal::TooManyOfAll(3))));
        drop(one);
        assert!(turns.take("alice").is_ok());
        drop((two, three));
        assert!(turns.taken.lock().expect("not poisoned").is_empty());
    }
}
