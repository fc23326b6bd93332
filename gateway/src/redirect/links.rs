//! The links on one cgroup: each is made once and pinned, and its program is exchanged from then on.
//!
//! A pin alone proves nothing: the cgroup may have gone, and one with the same path have come. So the kernel is
//! asked which cgroup a link is for. The links are held open beside their pins, so that a pin removed by hand
//! takes no program off its cgroup.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use super::{
    CgroupId, Error, conflict,
    hooks::{Hook, Programs},
    pins,
    pod::OpenCgroup,
    syscall,
};

pub(super) struct Links {
    /// Where they are pinned.
    directory: PathBuf,
    held: BTreeMap<&'static str, OwnedFd>,
}

/// How a link came to be as it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mended {
    /// It was there; at most its program was exchanged.
    Kept,
    /// It was there, but not its pin.
    Pinned,
    /// It was missing, or on a cgroup that is gone.
    Made,
}

impl Links {
    pub(super) fn pinned_in(directory: PathBuf) -> Self {
        Self {
            directory,
            held: BTreeMap::new(),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the kernel still has the link that is held, and its pin is that link's.
    pub(super) fn is_pinned(&self, hook: Hook) -> bool {
        let held = self.held.get(hook.name).and_then(number_of);
        let pinned = syscall::pinned(&self.pin(hook)).ok();
        held.is_some() && held == pinned.as_ref().and_then(number_of)
    }

    /// Makes the link of a hook run the program of this process, and makes it where it is missing.
    pub(super) fn mend(
        &mut self,
        hook: Hook,
        cgroup: &OpenCgroup,
        path: &Path,
        programs: &Programs,
    ) -> Result<Mended, Error> {
        let (link, mended) = match self.living(hook, cgroup.id)? {
            Some(living) if exchange(hook, &living.0, programs)? => living,
            _ => (create(hook, cgroup, path, programs)?, Mended::Made),
        };
        if mended != Mended::Kept {
            self.pin_anew(hook, &link)?;
        }
        self.held.insert(hook.name, link);
        Ok(mended)
    }

    /// The link that is held, else the one that is pinned, if it is on that cgroup.
    fn living(&mut self, hook: Hook, cgroup: CgroupId) -> Result<Option<(OwnedFd, Mended)>, Error> {
        let pinned = self.open_pin(hook)?;
        let is_right = |link: &OwnedFd| is_on(link, hook, cgroup);
        if let Some(held) = self.held.remove(hook.name).filter(is_right) {
            let same = pinned.as_ref().and_then(number_of) == number_of(&held);
            return Ok(Some((
                held,
                if same { Mended::Kept } else { Mended::Pinned },
            )));
        }
        Ok(pinned.filter(is_right).map(|link| (link, Mended::Kept)))
    }

    fn open_pin(&self, hook: Hook) -> Result<Option<OwnedFd>, Error> {
        let path = self.pin(hook);
        match syscall::pinned(&path) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::from_pin(&path, source)),
        }
    }

    fn pin_anew(&self, hook: Hook, link: &OwnedFd) -> Result<(), Error> {
        let path = self.pin(hook);
        pins::make(&self.directory)?;
        pins::remove_file(&path)?;
        syscall::pin(link, &path).map_err(|source| Error::from_pin(&path, source))
    }

    fn pin(&self, hook: Hook) -> PathBuf {
        self.directory.join(hook.name)
    }

    /// Opens what is pinned, and makes it run the programs of this process. Links on cgroups that are gone and
    /// those of hooks that there are no more are removed.
    pub(super) fn adopt(
        directory: PathBuf,
        hook_of: impl Fn(&str) -> Option<Hook>,
        programs: &Programs,
    ) -> Result<Self, Error> {
        let mut links = Self::pinned_in(directory);
        for path in pins::entries(&links.directory)? {
            let hook = path.file_name().and_then(|name| hook_of(name.to_str()?));
            let link = syscall::pinned(&path).map_err(|source| Error::from_pin(&path, source))?;
            match hook {
                Some(hook) if exchange(hook, &link, programs)? => {
                    links.held.insert(hook.name, link);
                }
                _ => {
                    // Whatever it is: nobody will run it from here.
                    let _ = syscall::detach_link(&link);
                    pins::remove_file(&path)?;
                }
            }
        }
        Ok(links)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether the cgroup is gone: the kernel takes it out of its links.
    pub(super) fn are_dead(&self) -> bool {
        self.held.values().all(|link| {
            syscall::link_info(link).is_ok_and(|info| info.is_none_or(|info| info.cgroup == 0))
        })
    }
}

/// Whether a link that is pinned in `directory` is on a cgroup. One that cannot be asked may be.
pub(super) fn any_is_attached(directory: &Path) -> Result<bool, Error> {
    let is_attached = |path: &PathBuf| {
        let link = syscall::pinned(path).and_then(syscall::link_info);
        link.map_or(true, |info| info.is_some_and(|info| info.cgroup != 0))
    };
    Ok(pins::entries(directory)?.iter().any(is_attached))
}

/// Takes all links off their cgroups that are pinned in `directory`, and removes it. Returns how many.
pub(super) fn detach_all(directory: &Path) -> Result<u32, Error> {
    let mut detached = 0;
    for path in pins::entries(directory)? {
        if let Ok(link) = syscall::pinned(&path) {
            detached += u32::from(syscall::detach_link(&link).is_ok());
        }
        pins::remove_file(&path)?;
    }
    pins::remove_directory(directory)?;
    Ok(detached)
}

/// Makes the link run this process's program. False where its cgroup is gone.
fn exchange(hook: Hook, link: &OwnedFd, programs: &Programs) -> Result<bool, Error> {
    match syscall::update_link(link, &programs.of(hook).program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOLINK) => Ok(false),
        Err(source) => Err(Error::UpdateLink {
            program: hook.name,
            source,
        }),
    }
}

fn create(
    hook: Hook,
    cgroup: &OpenCgroup,
    path: &Path,
    programs: &Programs,
) -> Result<OwnedFd, Error> {
    syscall::create_link(
        &programs.of(hook).program,
        &cgroup.directory,
        hook.attach_type,
    )
    .map_err(|source| conflict::explain(hook, path, source))
}

fn is_on(link: &OwnedFd, hook: Hook, cgroup: CgroupId) -> bool {
    syscall::link_info(link).is_ok_and(|info| {
        info.is_some_and(|info| {
            info.cgroup == cgroup.0 && info.attach_type == hook.attach_type as u32
        })
    })
}

fn number_of(link: &OwnedFd) -> Option<u32> {
    syscall::link_info(link)
        .ok()
        .flatten()
        .map(|info| info.link)
}
