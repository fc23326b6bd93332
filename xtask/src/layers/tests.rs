use std::path::Path;

use super::{LAYERS, OF_AGENTS, PRIVILEGED, check, scan};

fn modules(path: &str, text: &str) -> Vec<String> {
    let references = scan::references(&super::module_path(Path::new(path)), text);
    references
        .into_iter()
        .map(|reference| reference.module)
        .collect()
}

#[test]
fn no_module_is_in_two_layers() {
    let mut modules: Vec<_> = LAYERS.concat();
    modules.sort_unstable();
    let count = modules.len();
    modules.dedup();
    assert_eq!(modules.len(), count);
}

#[test]
fn a_module_may_use_those_above_it_and_itself() {
    let text = "use crate::{config::Config, identity, policy::permit::Permit};";
    assert_eq!(
        check(Path::new("policy/evaluate.rs"), text),
        Vec::<String>::new()
    );
}

#[test]
fn a_module_must_not_use_those_below_it_or_beside_it() {
    for (module, other) in [
        ("audit", "policy"),
        ("audit", "authn"),
        ("mask", "proxy"),
        ("app", "cli"),
    ] {
        let text = format!("use std::io;\n\nuse crate::{other}::Thing;\n");
        let faults = check(Path::new(&format!("{module}.rs")), &text);
        assert_eq!(faults.len(), 1, "{module} uses {other}");
        assert!(
            faults[0].starts_with(&format!("gateway/src/{module}.rs:3: `{module}`")),
            "{}",
            faults[0]
        );
    }
}

#[test]
fn the_privileged_half_never_reads_what_agents_send() {
    for own in PRIVILEGED {
        for other in OF_AGENTS {
            let text = format!("use crate::{other}::Thing;");
            let faults = check(Path::new(&format!("{own}/part.rs")), &text);
            assert_eq!(faults.len(), 1, "{own} uses {other}");
            assert!(faults[0].contains("has privileges"), "{}", faults[0]);
        }
    }
    assert_eq!(
        check(
            Path::new("node.rs"),
            "use crate::{redirect, handover, identity};"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn an_unknown_module_has_to_be_added_to_the_map() {
    let own = check(Path::new("helpers.rs"), "");
    assert!(own[0].contains("add it"), "{own:?}");
    let other = check(Path::new("proxy.rs"), "fn f() { crate::helpers::g() }");
    assert!(other[0].contains("add it"), "{other:?}");
}

#[test]
fn the_map_itself_and_the_binary_name_every_module() {
    assert_eq!(
        check(Path::new("lib.rs"), "pub use crate::proxy::Proxy;"),
        Vec::<String>::new()
    );
    assert_eq!(
        check(Path::new("main.rs"), "use crate::nowhere;"),
        Vec::<String>::new()
    );
}

#[test]
fn paths_in_expressions_types_and_groups_are_found() {
    let text = "
        fn f(a: &crate::mask::Masked<u8>) -> impl crate::tls::Seam { crate::audit::g::<crate::policy::P>() }
        use crate::{
            config::{Config, quantity::ByteSize},
            proxy,
        };
        macro_rules! m { () => { $crate::admin::x() } }
    ";
    assert_eq!(
        modules("cli.rs", text),
        ["mask", "tls", "audit", "policy", "config", "proxy", "admin"]
    );
}

#[test]
fn super_is_resolved_through_files_and_inline_modules() {
    assert_eq!(
        modules("audit.rs", "use super::policy::Permit;"),
        ["policy"]
    );
    assert_eq!(
        modules("audit/wal.rs", "use super::record::Record;"),
        Vec::<String>::new()
    );
    assert_eq!(
        modules("audit/wal.rs", "use super::super::{policy, tls::A};"),
        ["policy", "tls"]
    );
    assert_eq!(
        modules(
            "audit.rs",
            "mod tests { use super::{super::policy, record}; }"
        ),
        ["policy"]
    );
    assert_eq!(
        modules("audit.rs", "mod tests { fn f() {} } use super::tls;"),
        ["tls"]
    );
    assert_eq!(
        modules(
            "audit/wal/tests.rs",
            "use super::*; use super::super::record;"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let text = r###"
        //! See crate::proxy.
        /* crate::proxy /* crate::proxy */ crate::proxy */
        const A: &str = "crate::proxy \" crate::proxy";
        const B: &str = r#"crate::proxy " crate::proxy"#;
        const C: &[u8] = b"crate::proxy";
        const D: [char; 4] = ['"', '\'', '\\', '\u{22}'];
        fn f<'a>(x: &'a str) -> &'a str { crate::mask::g(x) }
    "###;
    assert_eq!(modules("cli.rs", text), ["mask"]);
}

#[test]
fn constants_and_macros_of_the_root_belong_to_every_layer() {
    assert_eq!(
        check(Path::new("config.rs"), "const A: &str = crate::AUDIENCE;"),
        Vec::<String>::new()
    );
}

#[test]
fn other_crates_with_the_same_module_names_are_theirs() {
    assert_eq!(
        modules(
            "config.rs",
            "use std::{io, net}; use kube::config::Kubeconfig;"
        ),
        Vec::<String>::new()
    );
}
