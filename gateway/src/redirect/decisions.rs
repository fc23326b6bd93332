use sallyport_common::Counter;

use super::{Error, Redirect};

/// How often the programs took each decision, since the maps were made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Decisions {
    pub redirected_v4: u64,
    pub redirected_v6: u64,
    pub redirected_v4_mapped: u64,
    /// Connections to a destination that has no listener.
    pub denied: u64,
    /// Agents' connections to a guarded port.
    pub denied_guarded: u64,
    /// Agents' packets to a guarded address.
    pub dropped_packets: u64,
    /// Agents' attempts to bind a reserved port.
    pub denied_binds: u64,
    /// Connections to a destination by pods that are not classified.
    pub passed_unclassified: u64,
}

impl Redirect {
    pub fn decisions(&self) -> Result<Decisions, Error> {
        Ok(Decisions {
            redirected_v4: self.count(Counter::RedirectedV4)?,
            redirected_v6: self.count(Counter::RedirectedV6)?,
            redirected_v4_mapped: self.count(Counter::RedirectedV4Mapped)?,
            denied: self.count(Counter::Denied)?,
            denied_guarded: self.count(Counter::DeniedGuarded)?,
            dropped_packets: self.count(Counter::DroppedPacket)?,
            denied_binds: self.count(Counter::DeniedBind)?,
            passed_unclassified: self.count(Counter::PassedUnclassified)?,
        })
    }

    fn count(&self, counter: Counter) -> Result<u64, Error> {
        let per_cpu = self.maps.counters.get(&(counter as u32), 0)?;
        Ok(per_cpu.iter().sum())
    }
}
