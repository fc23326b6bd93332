//! The themes of the tests, by plain names.

/// A group of tests that a person can ask for.
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    /// The test binary it lives in; every unit test binary where absent.
    binary: Option<&'static str>,
    /// What the names of its tests begin with.
    prefix: &'static str,
    pub(crate) needs_cluster: bool,
    pub(crate) needs_root: bool,
}

/// Every theme. A test belongs to the first that it matches.
pub(crate) const THEMES: &[Theme] = &[
    Theme {
        name: "wal",
        binary: Some("sallyport"),
        prefix: "audit::wal::",
        needs_cluster: false,
        needs_root: false,
    },
    Theme {
        name: "unit",
        binary: None,
        prefix: "",
        needs_cluster: false,
        needs_root: false,
    },
    Theme {
        name: "cluster",
        binary: Some("sallyport-tests::it"),
        prefix: "cluster::",
        needs_cluster: true,
        needs_root: false,
    },
    Theme {
        name: "install",
        binary: Some("sallyport-tests::it"),
        prefix: "install::",
        needs_cluster: true,
        needs_root: false,
    },
    Theme {
        name: "slice",
        binary: Some("sallyport-tests::it"),
        prefix: "slice::",
        needs_cluster: true,
        needs_root: false,
    },
    Theme {
        name: "clients",
        binary: Some("sallyport-tests::it"),
        prefix: "clients::",
        needs_cluster: true,
        needs_root: false,
    },
    Theme {
        name: "kernel",
        binary: Some("sallyport-tests::kernel"),
        prefix: "",
        needs_cluster: true,
        needs_root: true,
    },
];

impl Theme {
    /// As a nextest filter expression.
    pub(crate) fn filter(&self) -> String {
        let binary = self.binary.map_or_else(
            || "(kind(lib) + kind(bin))".to_owned(),
            |id| format!("binary_id({id})"),
        );
        match self.prefix {
            "" => binary,
            prefix => format!("{binary} & test(/^{prefix}/)"),
        }
    }

    fn holds(&self, binary: &str, test: &str) -> bool {
        let integration = binary.starts_with("sallyport-tests::");
        self.binary.map_or(!integration, |own| own == binary) && test.starts_with(self.prefix)
    }
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    THEMES.iter().map(|theme| theme.name)
}

pub(crate) fn find(name: &str) -> Option<&'static Theme> {
    THEMES.iter().find(|theme| theme.name == name)
}

/// The name of the theme that `test` of `binary` belongs to.
pub(crate) fn of(binary: &str, test: &str) -> &'static str {
    THEMES
        .iter()
        .find(|theme| theme.holds(binary, test))
        .map_or("other", |theme| theme.name)
}

#[cfg(test)]
mod tests {
    use super::{find, of};

    #[test]
    fn a_test_belongs_to_the_first_theme_that_it_matches() {
        for (binary, test, theme) in [
            (
                "sallyport",
                "audit::wal::tests::a_torn_record_is_cut",
                "wal",
            ),
            ("sallyport", "mask::tests::a_secret_is_masked", "unit"),
            (
                "xtask::bin/xtask",
                "layers::tests::no_module_is_in_two_layers",
                "unit",
            ),
            ("sallyport-tests::it", "slice::kubectl_gets_pods", "slice"),
            (
                "sallyport-tests::it",
                "clients::python::python_sees_the_same",
                "clients",
            ),
            ("sallyport-tests::it", "unheard_of::test", "other"),
            ("sallyport-tests::kernel", "connect_is_redirected", "kernel"),
        ] {
            assert_eq!(of(binary, test), theme, "{binary} {test}");
        }
    }

    #[test]
    fn filters_are_what_nextest_reads() {
        assert_eq!(
            find("wal").unwrap().filter(),
            "binary_id(sallyport) & test(/^audit::wal::/)"
        );
        assert_eq!(
            find("kernel").unwrap().filter(),
            "binary_id(sallyport-tests::kernel)"
        );
    }
}
