//! The kernel maps: pinned ones are used again if they are what the programs expect, and made anew if not.

use std::{collections::HashMap as Wanted, hash::Hash, io, path::Path};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, MapInfo, MapType, PerCpuArray, PerCpuHashMap},
};
use sallyport_common::{
    Connecting, Connection, Counter, Destination, Listener, MAX_CONNECTIONS, MAX_DESTINATIONS,
    MAX_GUARDED, MAX_PODS, PodState, Settings,
};

use super::{Error, pins::Pins};

/// The maps that user space uses; `CONNECTING` is the programs' own.
pub(super) struct Maps {
    pub(super) settings: Array<MapData, Settings>,
    pub(super) pods: HashMap<MapData, u64, PodState>,
    pub(super) destinations: HashMap<MapData, Destination, Listener>,
    pub(super) guarded: HashMap<MapData, Destination, u8>,
    pub(super) guarded_addresses: HashMap<MapData, [u32; 4], u8>,
    pub(super) connections: HashMap<MapData, Connection, u32>,
    pub(super) api_connections: PerCpuHashMap<MapData, u64, u64>,
    pub(super) counters: PerCpuArray<MapData, u64>,
}

impl Maps {
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            settings: typed(ebpf, "SETTINGS")?,
            pods: typed(ebpf, "PODS")?,
            destinations: typed(ebpf, "DESTINATIONS")?,
            guarded: typed(ebpf, "GUARDED")?,
            guarded_addresses: typed(ebpf, "GUARDED_ADDRESSES")?,
            connections: typed(ebpf, "CONNECTIONS")?,
            api_connections: typed(ebpf, "API_CONNECTIONS")?,
            counters: typed(ebpf, "COUNTERS")?,
        })
    }
}

fn typed<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf
        .take_map(name)
        .ok_or(Error::MissingFromObject { name })?;
    Ok(T::try_from(map)?)
}

/// Makes `wanted` the whole content. What is new comes before what is old goes, so an entry that stays is in
/// force throughout, and so is what an old and a new entry both stand for.
pub(super) fn replace<K, V>(
    map: &mut HashMap<MapData, K, V>,
    wanted: &Wanted<K, V>,
) -> Result<(), Error>
where
    K: Pod + Eq + Hash,
    V: Pod,
{
    insert_all(map, wanted)?;
    retain(map, wanted)
}

pub(super) fn insert_all<K, V>(
    map: &mut HashMap<MapData, K, V>,
    wanted: &Wanted<K, V>,
) -> Result<(), Error>
where
    K: Pod + Eq + Hash,
    V: Pod,
{
    let inserted = try_insert_all(map, wanted);
    // A process that ended half-way can have left more old entries than there is room beside.
    if inserted.as_ref().is_err_and(is_full) {
        retain(map, wanted)?;
        return Ok(try_insert_all(map, wanted)?);
    }
    Ok(inserted?)
}

fn try_insert_all<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    wanted: &Wanted<K, V>,
) -> Result<(), MapError> {
    wanted
        .iter()
        .try_for_each(|(key, value)| map.insert(key, value, 0))
}

/// Removes every entry that is not wanted.
pub(super) fn retain<K, V>(
    map: &mut HashMap<MapData, K, V>,
    wanted: &Wanted<K, V>,
) -> Result<(), Error>
where
    K: Pod + Eq + Hash,
    V: Pod,
{
    let present = map.keys().collect::<Result<Vec<_>, _>>()?;
    for key in present.iter().filter(|key| !wanted.contains_key(key)) {
        remove(map, key)?;
    }
    Ok(())
}

/// Removes an entry, if it is there.
pub(super) fn remove<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    key: &K,
) -> Result<(), Error> {
    match map.remove(key) {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        result => Ok(result?),
    }
}

/// Whether a map refused an entry because it has no room.
pub(super) fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error)
        if error.io_error.kind() == io::ErrorKind::ArgumentListTooLong)
}

/// Tells the loader where each map is pinned, after those pins are gone that hold something else. The programs
/// that are attached keep such an older map until their links run the new programs.
pub(super) fn pin_all<'a>(loader: &mut EbpfLoader<'a>, pins: &Pins) -> Result<(), Error> {
    for definition in DEFINITIONS {
        let path = pins.map(definition.name);
        if !definition.is_kept_by(&path)? {
            tracing::warn!(
                map = definition.name,
                "a pinned map is not as it should be, and is made anew"
            );
            pins.remove(&path)?;
        }
        loader.map_pin_path(definition.name, path);
    }
    Ok(())
}

/// Of every map that is pinned.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.iter().map(|definition| definition.name)
}

pub(super) fn has_any<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>) -> Result<bool, Error> {
    Ok(map.keys().next().transpose()?.is_some())
}

/// What the programs of this version expect of a map.
struct Definition {
    name: &'static str,
    kind: MapType,
    key: u32,
    value: u32,
    room: u32,
}

const DEFINITIONS: [Definition; 9] = [
    define::<u32, Settings>("SETTINGS", MapType::Array, 1),
    define::<u64, PodState>("PODS", MapType::Hash, MAX_PODS),
    define::<Destination, Listener>("DESTINATIONS", MapType::Hash, 2 * MAX_DESTINATIONS),
    define::<Destination, u8>("GUARDED", MapType::Hash, 2 * MAX_GUARDED),
    define::<[u32; 4], u8>("GUARDED_ADDRESSES", MapType::Hash, 2 * MAX_GUARDED),
    define::<u64, Connecting>("CONNECTING", MapType::LruHash, MAX_CONNECTIONS),
    define::<Connection, u32>("CONNECTIONS", MapType::LruHash, MAX_CONNECTIONS),
    define::<u64, u64>("API_CONNECTIONS", MapType::LruPerCpuHash, MAX_PODS),
    define::<u32, u64>("COUNTERS", MapType::PerCpuArray, Counter::COUNT),
];

const fn define<K, V>(name: &'static str, kind: MapType, room: u32) -> Definition {
    Definition {
        name,
        kind,
        key: size_of::<K>() as u32,
        value: size_of::<V>() as u32,
        room,
    }
}

impl Definition {
    /// Whether what is pinned at `path` is such a map, or nothing is.
    fn is_kept_by(&self, path: &Path) -> Result<bool, Error> {
        if !path.exists() {
            return Ok(true);
        }
        // What is no map at all has no information as one.
        Ok(MapInfo::from_pin(path).is_ok_and(|map| self.describes(&map)))
    }

    fn describes(&self, map: &MapInfo) -> bool {
        map.map_type().is_ok_and(|kind| kind == self.kind)
            && map.key_size() == self.key
            && map.value_size() == self.value
            && map.max_entries() == self.room
    }
}
