use std::path::PathBuf;

use super::{CgroupId, Error, Redirect, pod::OpenCgroup};

/// A program on a cgroup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    pub cgroup: PathBuf,
    pub program: &'static str,
}

/// What was not as it should be, and is now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Repaired {
    /// Was missing on the cgroup, so that connections passed.
    pub attached: Vec<Attachment>,
    /// Its pin was gone. The program was attached all the time, as this process holds it.
    pub pinned: Vec<Attachment>,
    /// Pods whose cgroup is gone: they are forgotten.
    pub gone: Vec<CgroupId>,
    /// Maps that are pinned again, with all they hold.
    pub maps: Vec<&'static str>,
}

impl Repaired {
    pub fn is_empty(&self) -> bool {
        let links = self.attached.is_empty() && self.pinned.is_empty();
        links && self.gone.is_empty() && self.maps.is_empty()
    }
}

impl Redirect {
    /// Attaches and pins what belongs to `kubepods` and to the pods that this process was told of, and forgets
    /// pods whose cgroup is gone; maps whose pins are gone are pinned again. What cannot be repaired keeps nothing else from it; the first error is returned.
    pub fn repair(&mut self) -> Result<Repaired, Error> {
        let mut repaired = Repaired::default();
        let mut outcome = match self.kubepods {
            Some(_) => self.attach_to_kubepods(&mut repaired),
            None => Ok(()),
        };
        for pod in Vec::from_iter(self.attached_pods()) {
            let pod = self.repair_pod(pod, &mut repaired);
            outcome = outcome.and(pod);
        }
        let maps = self.map_pins.mend();
        let maps = maps.map(|mended| repaired.maps = mended);
        outcome.and(maps).map(|()| repaired)
    }

    fn repair_pod(&mut self, pod: CgroupId, repaired: &mut Repaired) -> Result<(), Error> {
        let Some(attached) = self.pods.get_mut(&pod) else {
            return Ok(());
        };
        let Some(path) = attached.path.clone() else {
            return self.forget_if_dead(pod, repaired);
        };
        match OpenCgroup::open(&path) {
            Ok(cgroup) if cgroup.id == pod => {
                attached.mend(&cgroup, &path, &self.programs, repaired)
            }
            Err(error) if !error.is_missing_cgroup() => Err(error),
            _ => {
                repaired.gone.push(pod);
                self.forget(pod)
            }
        }
    }

    /// Of a pod that this process was not told of only the links are known.
    fn forget_if_dead(&mut self, pod: CgroupId, repaired: &mut Repaired) -> Result<(), Error> {
        if self
            .pods
            .get(&pod)
            .is_none_or(|attached| !attached.links.are_dead())
        {
            return Ok(());
        }
        repaired.gone.push(pod);
        self.forget(pod)
    }
}
