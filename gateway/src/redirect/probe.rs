//! Whether this machine can do what is needed, found out by doing it.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::Path,
};

use aya::Ebpf;

use super::{
    bpffs, cgroup2_mount, conflict,
    hooks::{self, AttachType, Hook, Loaded},
    object,
    observe::program_names,
    syscall,
};
use crate::telemetry::causes;

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// In a few words, such as "the BPF file system".
    pub subject: String,
    pub verdict: Verdict,
    /// What was found, and what to do about it where that is needed.
    pub saw: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    Good,
    /// Worth knowing; capture works.
    Notice,
    /// Capture does not work.
    Bad,
}

/// Looks at the kernel, this process's capabilities, cgroup2, the BPF file system, the programs, and who else has
/// programs on the cgroups that matter. `kubepods` is none where it was not found.
///
/// Each program is loaded with maps of its own, which are empty, and those of `kubepods` are attached there for a
/// moment: with nothing in their maps they let everything pass. Nothing is left.
pub fn probe(kubepods: Option<&Path>) -> Vec<Finding> {
    let mut findings = vec![kernel(), capabilities(), cgroup2(), bpf_file_system()];
    findings.push(kubepods_cgroup(kubepods));
    match object::load_unpinned() {
        Ok(mut ebpf) => findings.extend(programs(&mut ebpf, kubepods)),
        Err(error) => findings.push(bad("the kernel programs", causes(&error))),
    }
    let root = cgroup2_mount().ok();
    let cgroups = root.iter().map(|root| root.path()).chain(kubepods);
    findings.extend(cgroups.flat_map(programs_of_others));
    findings
}

fn kernel() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => good("the kernel", format!("Linux {}", release.trim_end())),
        Err(error) => bad("the kernel", format!("cannot read its release: {error}")),
    }
}

/// Those that the node agent needs, by their numbers in `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 5] = [
    (0, "CHOWN"),
    (12, "NET_ADMIN"),
    (19, "SYS_PTRACE"),
    (21, "SYS_ADMIN"),
    (39, "BPF"),
];

fn capabilities() -> Finding {
    const SUBJECT: &str = "this process's capabilities";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return bad(
            SUBJECT,
            "cannot read them: check that /proc is mounted".to_owned(),
        );
    };
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(number, _)| effective & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return good(SUBJECT, CAPABILITIES.map(|(_, name)| name).join(", "));
    }
    let missing = missing.join(", ");
    bad(
        SUBJECT,
        format!("{missing} missing: run as root, or add them to the container's capabilities"),
    )
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn cgroup2() -> Finding {
    const SUBJECT: &str = "cgroup2";
    match cgroup2_mount() {
        Ok(mount) if mount.path() == Path::new("/sys/fs/cgroup") => {
            good(SUBJECT, "mounted at /sys/fs/cgroup".to_owned())
        }
        Ok(mount) => notice(
            SUBJECT,
            format!(
                "mounted at {}, not at /sys/fs/cgroup: where the old hierarchies are used for pods, no pod is \
                 captured; boot with systemd.unified_cgroup_hierarchy=1",
                mount.path().display()
            ),
        ),
        Err(error) => bad(SUBJECT, causes(&error)),
    }
}

fn bpf_file_system() -> Finding {
    const SUBJECT: &str = "the BPF file system";
    if bpffs::is_bpffs(bpffs::BPFFS.as_ref()).unwrap_or(false) {
        return good(SUBJECT, format!("mounted at {}", bpffs::BPFFS));
    }
    bad(
        SUBJECT,
        format!(
            "not mounted at {0}: run `mount -t bpf bpf {0}` on the host, and mount that into the container",
            bpffs::BPFFS
        ),
    )
}

fn kubepods_cgroup(kubepods: Option<&Path>) -> Finding {
    const SUBJECT: &str = "the pods' cgroup";
    match kubepods {
        Some(path) if bpffs::is_cgroup2(path).unwrap_or(false) => {
            good(SUBJECT, path.display().to_string())
        }
        Some(path) => bad(
            SUBJECT,
            format!(
                "{} is no directory in cgroup2: check `kubepods`",
                path.display()
            ),
        ),
        None => bad(
            SUBJECT,
            "not found: check that the kubelet runs with cgroupsPerQOS, or set `kubepods`"
                .to_owned(),
        ),
    }
}

fn programs(ebpf: &mut Ebpf, kubepods: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hook in hooks::all() {
        match hooks::load(ebpf, hook) {
            Ok(program) => {
                findings.push(loaded(&program));
                findings.extend(kubepods.and_then(|path| attachable(&program, path)));
            }
            Err(error) => findings.push(bad(&subject(hook), causes(&error))),
        }
    }
    findings
}

fn loaded(program: &Loaded) -> Finding {
    let saw = match program.instructions {
        Some(count) => format!("loads; the verifier looked at {count} instructions"),
        None => "loads".to_owned(),
    };
    good(&subject(program.hook), saw)
}

/// Whether the program can be attached to `kubepods`, or below it: silent where nothing speaks against it.
fn attachable(program: &Loaded, kubepods: &Path) -> Option<Finding> {
    let subject = format!("attaching `{}`", program.hook.name);
    if hooks::KUBEPODS.contains(&program.hook) {
        let attached = File::open(kubepods).and_then(|directory| {
            syscall::create_link(&program.program, directory, program.hook.attach_type)
        });
        return Some(match attached {
            Ok(_link) => good(&subject, format!("works on {}", kubepods.display())),
            Err(error) => bad(
                &subject,
                causes(&conflict::explain(program.hook, kubepods, error)),
            ),
        });
    }
    let conflict = conflict::find(program.hook.attach_type, kubepods)?;
    Some(bad(
        &subject,
        causes(&conflict.forbids(program.hook, kubepods)),
    ))
}

/// One finding for each attach type of ours that has programs on the cgroup.
fn programs_of_others(cgroup: &Path) -> Vec<Finding> {
    let names = program_names();
    let types = hooks::all().map(|hook| hook.attach_type);
    let mut types: Vec<AttachType> = types.collect();
    types.dedup();
    types
        .into_iter()
        .filter_map(|attach_type| on_cgroup(cgroup, attach_type, &names))
        .collect()
}

fn on_cgroup(
    cgroup: &Path,
    attach_type: AttachType,
    names: &HashMap<u32, String>,
) -> Option<Finding> {
    let subject = format!("{attach_type:?} programs on {}", cgroup.display());
    let attached = match File::open(cgroup).and_then(|file| syscall::query(file, attach_type)) {
        Ok(attached) => attached,
        Err(error) => return Some(bad(&subject, format!("the kernel does not tell: {error}"))),
    };
    let found: Vec<String> = attached
        .programs
        .iter()
        .map(|id| describe(names.get(id).map_or("", String::as_str), *id))
        .collect();
    (!found.is_empty()).then(|| notice(&subject, found.join(", ")))
}

/// A program's name, and whose it is where names tell.
fn describe(name: &str, id: u32) -> String {
    if hooks::all().any(|hook| hook.name == name) {
        return format!("{name} (Sallyport)");
    }
    match name {
        "" => format!("program {id}"),
        name if name.starts_with("cil_") => format!("{name} (Cilium)"),
        name if name.starts_with("sd_") => format!("{name} (systemd)"),
        name => name.to_owned(),
    }
}

fn subject(hook: Hook) -> String {
    format!("the program `{}`", hook.name)
}

fn good(subject: &str, saw: String) -> Finding {
    finding(subject, Verdict::Good, saw)
}

fn notice(subject: &str, saw: String) -> Finding {
    finding(subject, Verdict::Notice, saw)
}

fn bad(subject: &str, saw: String) -> Finding {
    finding(subject, Verdict::Bad, saw)
}

fn finding(subject: &str, verdict: Verdict, saw: String) -> Finding {
    Finding {
        subject: subject.to_owned(),
        verdict,
        saw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read_as_a_set_of_bits() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t0000008000201000\n";
        assert_eq!(
            effective_capabilities(status),
            Some(1 << 39 | 1 << 21 | 1 << 12)
        );
        assert_eq!(effective_capabilities("CapPrm:\t0\n"), None);
    }

    #[test]
    fn programs_are_described_by_whose_they_are() {
        assert_eq!(
            describe("cil_sock4_connect", 7),
            "cil_sock4_connect (Cilium)"
        );
        assert_eq!(describe("connect4", 7), "connect4 (Sallyport)");
        assert_eq!(describe("other", 7), "other");
        assert_eq!(describe("", 7), "program 7");
    }
}
