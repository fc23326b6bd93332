//! What the kernel really has on our cgroups. A pin that exists is no proof.

use std::{collections::HashMap, fmt, path::PathBuf};

use aya::programs::loaded_programs;

use super::{
    CgroupId, Error, Redirect,
    attached::Attached,
    hooks::{Hook, Programs},
    pod::OpenCgroup,
    syscall,
};

/// How what is attached differs from what should be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// Empty where all is well.
    pub troubles: Vec<Trouble>,
    /// Programs of others on the same cgroups. They do no harm: all programs run, and each may deny.
    pub foreign: Vec<Foreign>,
    /// Maps whose pins are gone or are those of others: the next process would begin with empty ones.
    pub unpinned_maps: Vec<&'static str>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    pub cgroup: PathBuf,
    /// None for `kubepods`.
    pub pod: Option<CgroupId>,
    pub kind: TroubleKind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TroubleKind {
    /// There is no cgroup any more.
    CgroupGone,
    /// There is another cgroup at its path.
    CgroupReplaced,
    /// The program does not run there.
    Missing { program: &'static str },
    /// The program runs there more than once.
    Doubled { program: &'static str },
    /// One of the same name runs there that this process did not load: of an earlier version, or of an impostor.
    Stale { program: &'static str },
    /// It runs, but would end with this process.
    Unpinned { program: &'static str },
    /// The kernel does not tell.
    Unknown { program: &'static str },
}

/// A program of someone else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    pub cgroup: PathBuf,
    /// Beside which of ours.
    pub beside: &'static str,
    pub name: String,
}

impl Redirect {
    /// Asks the kernel about `kubepods`, every pod that this process was told of, and the maps.
    pub fn observe(&self) -> Result<Observed, Error> {
        let mut observer = Observer {
            programs: &self.programs,
            names: None,
            observed: Observed::default(),
        };
        let kubepods = self.kubepods.iter().map(|attached| (None, attached));
        let pods = self
            .pods
            .iter()
            .map(|(pod, attached)| (Some(*pod), attached));
        for (pod, attached) in kubepods.chain(pods) {
            observer.look_at(pod, attached);
        }
        observer.observed.unpinned_maps = self.map_pins.missing();
        Ok(observer.observed)
    }
}

struct Observer<'a> {
    programs: &'a Programs,
    /// Every program's name by its number, read once there is a number that is not ours.
    names: Option<HashMap<u32, String>>,
    observed: Observed,
}

impl Observer<'_> {
    fn look_at(&mut self, pod: Option<CgroupId>, attached: &Attached) {
        let Some(path) = &attached.path else {
            return;
        };
        let expected = pod.or_else(|| super::pins::cgroup_of(attached.links.directory()));
        let mut report = |kind| {
            self.observed.troubles.push(Trouble {
                cgroup: path.clone(),
                pod,
                kind,
            });
        };
        match OpenCgroup::open(path) {
            Err(_) => report(TroubleKind::CgroupGone),
            Ok(cgroup) if Some(cgroup.id) != expected => report(TroubleKind::CgroupReplaced),
            Ok(cgroup) => {
                for hook in &attached.hooks {
                    let kinds = self.look_at_hook(*hook, &cgroup, attached, path);
                    self.observed
                        .troubles
                        .extend(kinds.into_iter().map(|kind| Trouble {
                            cgroup: path.clone(),
                            pod,
                            kind,
                        }));
                }
            }
        }
    }

    fn look_at_hook(
        &mut self,
        hook: Hook,
        cgroup: &OpenCgroup,
        attached: &Attached,
        path: &std::path::Path,
    ) -> Vec<TroubleKind> {
        let program = hook.name;
        let Ok(found) = syscall::query(&cgroup.directory, hook.attach_type) else {
            return vec![TroubleKind::Unknown { program }];
        };
        let (ours, others): (Vec<u32>, Vec<u32>) = found
            .programs
            .iter()
            .partition(|id| **id == self.programs.of(hook).id);
        let mut kinds = match ours.len() {
            0 => vec![TroubleKind::Missing { program }],
            1 => Vec::new(),
            _ => vec![TroubleKind::Doubled { program }],
        };
        if !ours.is_empty() && !attached.links.is_pinned(hook) {
            kinds.push(TroubleKind::Unpinned { program });
        }
        for other in others {
            let name = self.name_of(other);
            if name == program {
                kinds.push(TroubleKind::Stale { program });
            } else {
                self.observed.foreign.push(Foreign {
                    cgroup: path.to_owned(),
                    beside: program,
                    name,
                });
            }
        }
        kinds
    }

    fn name_of(&mut self, program: u32) -> String {
        let names = self.names.get_or_insert_with(program_names);
        names
            .get(&program)
            .cloned()
            .unwrap_or_else(|| format!("program {program}"))
    }
}

/// The names of all programs in the kernel; a program that ends meanwhile is left out.
pub(super) fn program_names() -> HashMap<u32, String> {
    let programs = loaded_programs().flatten();
    programs
        .map(|program| {
            (
                program.id(),
                String::from_utf8_lossy(program.name()).into_owned(),
            )
        })
        .collect()
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cgroup = self.cgroup.display();
        match self.kind {
            TroubleKind::CgroupGone => write!(f, "the cgroup {cgroup} is gone"),
            TroubleKind::CgroupReplaced => write!(f, "the cgroup {cgroup} was replaced"),
            TroubleKind::Missing { program } => write!(f, "`{program}` is not on {cgroup}"),
            TroubleKind::Doubled { program } => {
                write!(f, "`{program}` is on {cgroup} more than once")
            }
            TroubleKind::Stale { program } => {
                write!(f, "another program named `{program}` is on {cgroup}")
            }
            TroubleKind::Unpinned { program } => {
                write!(f, "the pin of `{program}` on {cgroup} is gone")
            }
            TroubleKind::Unknown { program } => {
                write!(
                    f,
                    "the kernel does not tell whether `{program}` is on {cgroup}"
                )
            }
        }
    }
}
