//! The kernel programs by name, and where each is attached.

use std::io;

use aya::{
    Ebpf,
    programs::{Program, ProgramFd},
};

use super::Error;

/// `bpf_attach_type` of `linux/bpf.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AttachType {
    Egress = 1,
    SockOps = 3,
    Bind4 = 8,
    Bind6 = 9,
    Connect4 = 10,
    Connect6 = 11,
}

/// A program, by the name of its function in package `ebpf`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hook {
    pub(super) name: &'static str,
    pub(super) attach_type: AttachType,
}

const fn hook(name: &'static str, attach_type: AttachType) -> Hook {
    Hook { name, attach_type }
}

/// On `kubepods`.
pub(super) const KUBEPODS: [Hook; 2] = [
    hook("connect4", AttachType::Connect4),
    hook("connect6", AttachType::Connect6),
];

/// On an agent pod before its listeners are opened.
pub(super) const PORTS: [Hook; 2] = [
    hook("agent_bind4", AttachType::Bind4),
    hook("agent_bind6", AttachType::Bind6),
];

/// On an agent pod once it has listeners. The record's comes before the connections that it notes.
pub(super) const ENFORCEMENT: [Hook; 4] = [
    hook("agent_sockops", AttachType::SockOps),
    hook("agent_connect4", AttachType::Connect4),
    hook("agent_connect6", AttachType::Connect6),
    hook("agent_egress", AttachType::Egress),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Hook> {
    KUBEPODS.into_iter().chain(PORTS).chain(ENFORCEMENT)
}

/// The hook of that name, among those of pods.
pub(super) fn of_pod(name: &str) -> Option<Hook> {
    PORTS
        .into_iter()
        .chain(ENFORCEMENT)
        .find(|hook| hook.name == name)
}

/// The programs as this process loaded them. They go when it ends, unless a link runs them.
pub(super) struct Programs(Vec<Loaded>);

pub(super) struct Loaded {
    pub(super) hook: Hook,
    pub(super) program: ProgramFd,
    pub(super) id: u32,
    /// How many instructions the verifier looked at; none where the kernel is too old to tell.
    pub(super) instructions: Option<u32>,
}

impl Programs {
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, Error> {
        all()
            .map(|hook| load(ebpf, hook))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn of(&self, hook: Hook) -> &Loaded {
        self.0
            .iter()
            .find(|loaded| loaded.hook == hook)
            .expect("every hook's program was loaded")
    }
}

pub(super) fn load(ebpf: &mut Ebpf, hook: Hook) -> Result<Loaded, Error> {
    let Hook { name, .. } = hook;
    let program = ebpf
        .program_mut(name)
        .ok_or(Error::MissingFromObject { name })?;
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => return Err(Error::MissingFromObject { name }),
    }
    .map_err(|error| Error::from_program(name, error))?;
    let failed = |error| Error::from_program(name, error);
    let info = program.info().map_err(failed)?;
    Ok(Loaded {
        hook,
        program: duplicate(program).map_err(|error| failed(error.into()))?,
        id: info.id(),
        instructions: info.verified_instruction_count(),
    })
}

fn duplicate(program: &Program) -> io::Result<ProgramFd> {
    program.fd().map_err(io::Error::other)?.try_clone()
}
