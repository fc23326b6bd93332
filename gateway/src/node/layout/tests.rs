use proptest::prelude::*;

use super::*;

const UID: &str = "8d7c9b5a-0f3e-4c8e-9d2b-1a2b3c4d5e6f";
const ESCAPED: &str = "8d7c9b5a_0f3e_4c8e_9d2b_1a2b3c4d5e6f";
const HASH: &str = "3f0b7c1d9a8e4f5b6c7d8e9f0a1b2c3d";

fn uid(path: &str) -> Option<String> {
    match pod_of(Path::new(path))? {
        PodKey::Uid(uid) => Some(uid),
        PodKey::ConfigHash(hash) => panic!("{hash} is no UID"),
    }
}

#[test]
fn every_layout_that_kubelets_make_is_understood() {
    for path in [
        format!("kubepods/pod{UID}"),
        format!("kubepods/burstable/pod{UID}"),
        format!("kubepods/besteffort/pod{UID}/0123abcd"),
        format!("kubepods/besteffort/pod{UID}/crio-0123abcd"),
        format!("kubelet/kubepods/burstable/pod{UID}/0123abcd"),
        format!("kubepods.slice/kubepods-pod{ESCAPED}.slice"),
        format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{ESCAPED}.slice/cri-containerd-0123.scope"
        ),
        format!(
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{ESCAPED}.slice/crio-0123.scope/container"
        ),
        format!("kubepods.slice/kubepods-pod{ESCAPED}.slice/docker-0123.scope"),
        format!(
            "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{ESCAPED}.slice"
        ),
        format!("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{ESCAPED}.slice"),
        format!("docker/0123abcd/kubelet/kubepods/pod{UID}"),
        // As another pod sees it.
        format!("/../../pod{UID}/0123abcd"),
        format!("/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{ESCAPED}.slice"),
        format!("libpod-0123.scope/podman/kubelet/kubepods/pod{UID}"),
    ] {
        assert_eq!(uid(&path).as_deref(), Some(UID), "{path}");
    }
}

#[test]
fn a_static_pod_is_told_by_the_hash_of_its_file() {
    let key = PodKey::ConfigHash(HASH.to_owned());
    for path in [
        format!("kubepods/burstable/pod{HASH}"),
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice"),
    ] {
        assert_eq!(pod_of(Path::new(&path)), Some(key.clone()), "{path}");
    }
}

#[test]
fn what_is_no_pod_has_no_key() {
    for path in [
        "system.slice/kubelet.service".to_owned(),
        "kubepods/burstable".to_owned(),
        "kubepods/guaranteed/podx".to_owned(),
        "kubepods/pod".to_owned(),
        format!("system.slice/other-pod{ESCAPED}.slice"),
    ] {
        assert_eq!(pod_of(Path::new(&path)), None, "{path}");
    }
    for (parent, name) in [
        ("kubepods", "burstable".to_owned()),
        ("kubepods.slice", format!("pod{UID}")),
        (
            "kubepods-burstable.slice",
            format!("kubepods-besteffort-pod{ESCAPED}.slice"),
        ),
        ("kubepods", format!("kubepods-pod{ESCAPED}.slice")),
    ] {
        assert_eq!(pod_directory(parent, &name), None, "{parent}/{name}");
    }
}

#[test]
fn the_pods_are_found_wherever_the_kubelet_keeps_them() {
    for layout in KUBEPODS {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(find_kubepods(root.path()), None);
        let kubepods = root.path().join(layout);
        std::fs::create_dir_all(&kubepods).expect("directories");
        assert_eq!(find_kubepods(root.path()), Some(kubepods));
    }
}

fn uids() -> impl Strategy<Value = String> {
    proptest::array::uniform16(any::<u8>()).prop_map(|bytes| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    })
}

fn levels() -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    let base = proptest::sample::select(KUBEPODS.to_vec());
    (
        base,
        proptest::option::of(proptest::sample::select(QOS.to_vec())),
    )
}

/// As kubelet names it.
fn directory(base: &str, qos: Option<&str>, uid: &str) -> String {
    let Some(stem) = base
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_suffix(SLICE))
    else {
        let qos = qos.map(|qos| format!("{qos}/")).unwrap_or_default();
        return format!("{base}/{qos}pod{uid}");
    };
    let uid = uid.replace('-', "_");
    match qos {
        Some(qos) => format!("{base}/{stem}-{qos}.slice/{stem}-{qos}-pod{uid}.slice"),
        None => format!("{base}/{stem}-pod{uid}.slice"),
    }
}

proptest! {
    #[test]
    fn any_pod_in_any_layout_is_found_by_its_uid((base, qos) in levels(), uid in uids()) {
        let path = directory(base, qos, &uid);
        prop_assert_eq!(pod_of(Path::new(&path)), Some(PodKey::Uid(uid.clone())));
        let path = Path::new(&path);
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (parent, own) = (path.parent().and_then(name), name(path));
        let found = pod_directory(&parent.unwrap_or_default(), &own.unwrap_or_default());
        prop_assert_eq!(found, Some(PodKey::Uid(uid)));
    }

    #[test]
    fn nothing_made_inside_of_a_pod_makes_it_another(
        (base, qos) in levels(),
        uid in uids(),
        (inner_base, inner_qos) in levels(),
        other in uids(),
        nested in "[a-z./-]{0,40}",
    ) {
        let path = directory(base, qos, &uid);
        let forged = directory(inner_base, inner_qos, &other);
        let found = [nested, forged].map(|below| pod_of(Path::new(&format!("{path}/{below}"))));
        let key = Some(PodKey::Uid(uid));
        prop_assert_eq!(found, [key.clone(), key]);
    }

    #[test]
    fn no_path_is_too_strange(path in ".{0,200}") {
        let _ = pod_of(Path::new(&path));
    }
}
