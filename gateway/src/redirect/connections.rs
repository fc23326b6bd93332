//! What the programs note about connections, for the record and for people. Either may be lost.

use std::{collections::BTreeMap, io, net::SocketAddr};

use aya::maps::MapError;
use sallyport_common::{AF_INET, AF_INET6, Connection};

use super::{CgroupId, Error, Redirect};

impl Redirect {
    /// The process (its thread group) that made the connection which a listener accepted from `peer`.
    pub fn connected_process(
        &self,
        netns_cookie: u64,
        peer: SocketAddr,
    ) -> Result<Option<u32>, Error> {
        let connection = Connection {
            netns_cookie,
            local_port: peer.port().into(),
            family: if peer.is_ipv4() { AF_INET } else { AF_INET6 },
        };
        known(self.maps.connections.get(&connection, 0))
    }

    /// How often each pod has connected to a destination, agent or not, by its cgroup. Of pods that are not
    /// classified the level above or below is counted as well.
    pub fn api_connections(&self) -> Result<BTreeMap<CgroupId, u64>, Error> {
        let mut counts = BTreeMap::new();
        for entry in self.maps.api_connections.iter() {
            // An entry can be pushed out by another while the map is read.
            if let Some((pod, per_cpu)) = known(entry)? {
                counts.insert(CgroupId(pod), per_cpu.iter().sum());
            }
        }
        counts.remove(&CgroupId(0));
        Ok(counts)
    }

    pub(super) fn forget_connections(&mut self, pod: CgroupId) -> Result<(), Error> {
        known(self.maps.api_connections.remove(&pod.0)).map(drop)
    }
}

fn known<T>(found: Result<T, MapError>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
