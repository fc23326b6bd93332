//! The maps, held open beside their pins: a pin that is removed by hand leaves the programs their map, and the next
//! process would make an empty one under links that stay.

use std::{os::fd::OwnedFd, path::PathBuf};

use aya::maps::MapInfo;

use super::{Error, maps, pins, pins::Pins, syscall};

pub(super) struct MapPins(Vec<Pinned>);

struct Pinned {
    name: &'static str,
    path: PathBuf,
    map: OwnedFd,
    id: u32,
}

impl MapPins {
    /// Of maps that are all pinned.
    pub(super) fn hold(pins: &Pins) -> Result<Self, Error> {
        maps::names()
            .map(|name| Pinned::hold(name, pins.map(name)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The maps that the next process would not find.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let missing = self.0.iter().filter(|pinned| !pinned.is_there());
        missing.map(|pinned| pinned.name).collect()
    }

    /// Pins them again, and says which.
    pub(super) fn mend(&self) -> Result<Vec<&'static str>, Error> {
        let mut mended = Vec::new();
        for pinned in self.0.iter().filter(|pinned| !pinned.is_there()) {
            pinned.pin_anew()?;
            mended.push(pinned.name);
        }
        Ok(mended)
    }
}

impl Pinned {
    fn hold(name: &'static str, path: PathBuf) -> Result<Self, Error> {
        let map = syscall::pinned(&path).map_err(|source| Error::from_pin(&path, source))?;
        let id = MapInfo::from_pin(&path)?.id();
        Ok(Self {
            name,
            path,
            map,
            id,
        })
    }

    fn is_there(&self) -> bool {
        MapInfo::from_pin(&self.path).is_ok_and(|map| map.id() == self.id)
    }

    fn pin_anew(&self) -> Result<(), Error> {
        if let Some(directory) = self.path.parent() {
            pins::make(directory)?;
        }
        pins::remove_file(&self.path)?;
        syscall::pin(&self.map, &self.path).map_err(|source| Error::from_pin(&self.path, source))
    }
}
