//! Whom a token is for, and so who accepts it.

/// The token audience that agents hold: the API server accepts no token of this audience.
pub const AUDIENCE: &str = "sallyport";

/// Audiences of the API server in a cluster that kubeadm or a provider made.
pub const USUAL_API_AUDIENCES: [&str; 4] = [
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "api",
    "kubernetes",
];

/// Whether the API server accepts a projected token of `audience`. `more` are those of its `--api-audiences` that are
/// not usual; none at all means the first of these.
pub fn is_api_audience(audience: &str, more: &[String]) -> bool {
    audience.is_empty()
        || USUAL_API_AUDIENCES.contains(&audience)
        || more.iter().any(|one| one == audience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_audience_a_usual_one_and_a_configured_one_are_the_api_servers() {
        let more = ["https://issuer.example".to_owned()];
        for (audience, is_api) in [
            ("", true),
            ("api", true),
            ("https://issuer.example", true),
            ("https://issuer.example/", false),
            (AUDIENCE, false),
            ("vault", false),
        ] {
            assert_eq!(is_api_audience(audience, &more), is_api, "{audience}");
        }
        assert!(!is_api_audience("https://issuer.example", &[]));
    }
}
