//! What the programs themselves take, by the kernel's count.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;
use aya::{
    programs::{
        ProgramInfo,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
    sys::{Stats, enable_stats},
};

/// How often a program ran, and for how long.
#[derive(Clone, Copy, Default)]
pub(crate) struct RunTime {
    pub(crate) calls: u64,
    pub(crate) nanoseconds: u64,
}

impl RunTime {
    pub(crate) fn of_a_call(self) -> f64 {
        self.nanoseconds as f64 / self.calls as f64
    }
}

/// By the program's name.
pub(crate) type RunTimes = BTreeMap<String, RunTime>;

/// What the programs whose links are pinned below `pins` took while `work` ran. Counting costs a little, for
/// every program of the machine.
pub(crate) fn during<T>(pins: &Path, work: impl FnOnce() -> Result<T>) -> Result<(T, RunTimes)> {
    let _counting = enable_stats(Stats::RunTime)?;
    let programs = linked(pins)?;
    let before = run_times(&programs);
    let done = work()?;
    let mut since = run_times(&programs);
    for (name, run_time) in &mut since {
        let before = before.get(name).copied().unwrap_or_default();
        run_time.calls -= before.calls;
        run_time.nanoseconds -= before.nanoseconds;
    }
    since.retain(|_, run_time| run_time.calls > 0);
    Ok((done, since))
}

/// The programs that links run which are pinned as `<pins>/<kind>/<cgroup>/<program>`, by their number.
fn linked(pins: &Path) -> Result<BTreeMap<u32, String>> {
    let mut programs = BTreeMap::new();
    for kind in ["kubepods", "pods"] {
        for cgroup in fs::read_dir(pins.join(kind))? {
            for pin in fs::read_dir(cgroup?.path())? {
                let pin = pin?;
                let link = FdLink::from(PinnedLink::from_pin(pin.path())?);
                let name = pin.file_name().to_string_lossy().into_owned();
                programs.insert(link.info()?.program_id(), name);
            }
        }
    }
    Ok(programs)
}

/// Programs of others may go while they are listed, which is none of our business.
fn run_times(programs: &BTreeMap<u32, String>) -> RunTimes {
    let ours = |program: ProgramInfo| {
        let run_time = RunTime {
            calls: program.run_count(),
            nanoseconds: program.run_time().as_nanos() as u64,
        };
        Some((programs.get(&program.id())?.clone(), run_time))
    };
    loaded_programs().flatten().filter_map(ours).collect()
}
