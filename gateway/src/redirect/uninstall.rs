use std::path::Path;

use super::{Error, links, pins, pins::Pins};

/// What [`uninstall`] took away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    pub links: u32,
    pub maps: u32,
}

/// Takes every program off its cgroup and removes all pins, of every version. From then on no connection is
/// redirected and no packet dropped, unless a node agent still runs: it repairs what it misses.
pub fn uninstall(pins: &Path) -> Result<Removed, Error> {
    let at = Pins::at(pins);
    let mut removed = Removed::default();
    for root in [at.kubepods(), at.pods()] {
        for directory in pins::entries(&root)? {
            removed.links += links::detach_all(&directory)?;
        }
        pins::remove_directory(&root)?;
    }
    for maps in pins::entries(pins)? {
        removed.maps += pins::entries(&maps)?.len() as u32;
        pins::remove_directory(&maps)?;
    }
    pins::remove_directory(at.root())?;
    Ok(removed)
}
