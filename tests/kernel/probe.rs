//! What the doctor is told of a machine.

use std::{collections::BTreeSet, path::Path};

use aya::programs::loaded_programs;
use sallyport::redirect::{BPFFS, Finding, Verdict, mount_bpffs, probe};

use crate::{
    cgroup::TestCgroup,
    foreign::{Foreign, Mode},
    leftovers,
    scene::{Scene, take_turn},
};

fn about<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.subject == subject);
    found.unwrap_or_else(|| panic!("nothing about {subject} in {findings:?}"))
}

#[test]
fn a_machine_that_can_do_it_all_has_no_bad_finding_and_nothing_is_left_on_it() {
    let _turn = take_turn();
    mount_bpffs(Path::new(BPFFS)).unwrap();
    let kubepods = TestCgroup::new();
    let before = leftovers::held_by_the_kernel();
    let findings = probe(Some(kubepods.path()));
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Bad)
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    let loaded = &about(&findings, "the program `agent_egress`").saw;
    assert!(loaded.starts_with("loads"), "{loaded}");
    assert_eq!(leftovers::left_since(&before), [].into());
}

#[test]
fn a_parent_that_forbids_programs_below_is_found_and_named() {
    let _turn = take_turn();
    let kubepods = TestCgroup::new();
    let _alone = Foreign::attach(kubepods.path(), Mode::Alone);
    let findings = probe(Some(kubepods.besteffort()));
    let attaching = about(&findings, "attaching `connect4`");
    assert_eq!(attaching.verdict, Verdict::Bad);
    let parent = format!("because foreign on {}", kubepods.path().display());
    assert!(attaching.saw.contains(&parent), "{}", attaching.saw);
    // Not for what the program's kind has nothing to do with.
    let other = about(&findings, "attaching `connect6`");
    assert_eq!(other.verdict, Verdict::Good);
}

#[test]
fn programs_of_others_are_listed_beside_ours() {
    let scene = Scene::new();
    let _foreign = Foreign::attach(scene.kubepods.path(), Mode::BesideOthers);
    let findings = probe(Some(scene.kubepods.path()));
    let subject = format!("Connect4 programs on {}", scene.kubepods.path().display());
    let listed = about(&findings, &subject);
    assert_eq!(listed.verdict, Verdict::Notice);
    assert_eq!(listed.saw, "connect4 (Sallyport), foreign");
}

#[test]
fn a_machine_without_pods_is_told_to_say_where_they_are() {
    let _turn = take_turn();
    let findings = probe(None);
    let kubepods = about(&findings, "the pods' cgroup");
    assert_eq!(kubepods.verdict, Verdict::Bad);
    assert!(kubepods.saw.contains("set `kubepods`"), "{}", kubepods.saw);
}

/// Instructions that the verifier looked at on Linux 6.18. A program that comes to a fifth more has grown in a way
/// that an older kernel's verifier may not accept.
const INSTRUCTIONS: [(&str, u32); 8] = [
    ("agent_bind4", 3_146),
    ("agent_bind6", 3_146),
    ("agent_connect4", 7_945),
    ("agent_connect6", 12_126),
    ("agent_egress", 5_910),
    ("agent_sockops", 36),
    ("connect4", 7_954),
    ("connect6", 12_126),
];

#[test]
fn no_program_has_grown_by_more_than_a_fifth() {
    let turn = take_turn();
    let ids = || -> BTreeSet<u32> {
        loaded_programs()
            .flatten()
            .map(|program| program.id())
            .collect()
    };
    let before = ids();
    let _scene = Scene::set(turn, crate::scene::ELSEWHERE_V4.into());
    let counted = INSTRUCTIONS.map(|(name, _)| {
        let program = loaded_programs()
            .flatten()
            .find(|program| program.name_as_str() == Some(name) && !before.contains(&program.id()));
        (name, program.unwrap().verified_instruction_count().unwrap())
    });
    for ((name, counted), (_, committed)) in counted.into_iter().zip(INSTRUCTIONS) {
        assert!(
            counted * 5 <= committed * 6,
            "{name}: {counted} instructions, {committed} were committed"
        );
    }
}
