//! How many connections a listener has open: in all, and of one address, so that one leaves places to others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Open connections, by address.
pub struct Places {
    most: usize,
    most_of_address: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// Held as long as its connection is open.
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Places {
    pub fn new(most: usize, most_of_address: usize) -> Self {
        Self {
            most,
            most_of_address,
            open: Mutex::default(),
        }
    }

    pub fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&client).copied().unwrap_or_default();
        if own >= self.most_of_address || open.values().sum::<usize>() >= self.most {
            return None;
        }
        open.insert(client, own + 1);
        Some(Place {
            places: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = &self.places.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_to_others() {
        let places = Arc::new(Places::new(64, 4));
        let [greedy, kubelet] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let taken: Vec<_> = std::iter::from_fn(|| places.take(greedy)).collect();
        assert_eq!(taken.len(), 4);
        assert!(places.take(kubelet).is_some());
        drop(taken);
        assert!(places.open.lock().expect("no panic").is_empty());
    }
}
