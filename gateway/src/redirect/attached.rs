//! What is attached where: to `kubepods`, and to each agent pod.

use std::path::{Path, PathBuf};

use super::{
    Attachment, Error, PodCgroup, Redirect, Repaired,
    hooks::{self, Hook, Programs},
    links::{self, Links, Mended},
    pins,
    pod::OpenCgroup,
};

/// One cgroup, the hooks that belong on it, and its links.
pub(super) struct Attached {
    /// None where an earlier process attached them, and this one has not been told of the pod yet.
    pub(super) path: Option<PathBuf>,
    pub(super) hooks: Vec<Hook>,
    pub(super) links: Links,
}

impl Attached {
    /// What an earlier process attached; its programs are replaced by those of this one.
    fn adopt(directory: PathBuf, programs: &Programs) -> Result<Self, Error> {
        Ok(Self {
            path: None,
            hooks: Vec::new(),
            links: Links::adopt(directory, hooks::of_pod, programs)?,
        })
    }

    fn new(path: &Path, directory: PathBuf) -> Self {
        Self {
            path: Some(path.to_owned()),
            hooks: Vec::new(),
            links: Links::pinned_in(directory),
        }
    }

    fn expect(&mut self, hooks: &[Hook]) {
        for hook in hooks {
            if !self.hooks.contains(hook) {
                self.hooks.push(*hook);
            }
        }
    }

    /// Brings every link that belongs on the cgroup into order, and notes which were not.
    pub(super) fn mend(
        &mut self,
        cgroup: &OpenCgroup,
        path: &Path,
        programs: &Programs,
        repaired: &mut Repaired,
    ) -> Result<(), Error> {
        for hook in &self.hooks {
            let attachment = || Attachment {
                cgroup: path.to_owned(),
                program: hook.name,
            };
            match self.links.mend(*hook, cgroup, path, programs)? {
                Mended::Kept => {}
                Mended::Pinned => repaired.pinned.push(attachment()),
                Mended::Made => repaired.attached.push(attachment()),
            }
        }
        Ok(())
    }
}

impl Redirect {
    /// Attaches to `kubepods` what is missing there, and replaces the programs of everything that an earlier
    /// process attached, there and to pods. No connection is made without one of the two.
    ///
    /// Set the destinations first, or connections pass until they are set.
    pub fn attach(&mut self) -> Result<(), Error> {
        self.attach_to_kubepods(&mut Repaired::default())?;
        for directory in pins::entries(&self.pins.pods())? {
            self.adopt(directory)?;
        }
        for directory in self.pins.of_other_versions()? {
            pins::remove_directory(&directory)?;
        }
        Ok(())
    }

    fn adopt(&mut self, directory: PathBuf) -> Result<(), Error> {
        let Some(pod) = pins::cgroup_of(&directory) else {
            return links::detach_all(&directory).map(drop);
        };
        if self.pods.contains_key(&pod) {
            return Ok(());
        }
        let attached = Attached::adopt(directory, &self.programs)?;
        if attached.links.is_empty() {
            return pins::remove_directory(attached.links.directory());
        }
        self.pods.insert(pod, attached);
        Ok(())
    }

    pub(super) fn attach_to_kubepods(&mut self, repaired: &mut Repaired) -> Result<(), Error> {
        let path = self.kubepods_path().to_owned();
        let cgroup = OpenCgroup::open(&path)?;
        self.write_settings()?;
        let directory = self.pins.kubepods().join(cgroup.id.to_string());
        let same = |attached: &Attached| attached.links.directory() == directory;
        let mut attached = match self.kubepods.take_if(|attached| same(attached)) {
            Some(attached) => attached,
            None => Attached::new(&path, directory.clone()),
        };
        attached.expect(&hooks::KUBEPODS);
        let mended = attached.mend(&cgroup, &path, &self.programs, repaired);
        self.kubepods = Some(attached);
        mended?;
        self.detach_from_former_kubepods(&directory)
    }

    /// The cgroup was replaced, or lies elsewhere since a setting changed.
    fn detach_from_former_kubepods(&self, current: &Path) -> Result<(), Error> {
        let mut directories = pins::entries(&self.pins.kubepods())?;
        directories.retain(|directory| directory != current);
        for directory in directories {
            links::detach_all(&directory)?;
        }
        Ok(())
    }

    pub(super) fn attach_to_pod(&mut self, pod: &PodCgroup, hooks: &[Hook]) -> Result<(), Error> {
        let cgroup = OpenCgroup::open(&pod.path)?;
        if cgroup.id != pod.id {
            return Err(Error::CgroupReplaced {
                cgroup: pod.path.clone(),
            });
        }
        let directory = self.pins.pod(pod.id);
        let attached = self
            .pods
            .entry(pod.id)
            .or_insert_with(|| Attached::new(&pod.path, directory));
        attached.path = Some(pod.path.clone());
        attached.expect(hooks);
        attached.mend(&cgroup, &pod.path, &self.programs, &mut Repaired::default())
    }
}
