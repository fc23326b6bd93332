//! Namespaces that are not like others.

/// Where Sallyport itself runs.
pub(super) const OWN: &str = "sallyport-system";

/// Whether the cluster's own programs run there.
pub(super) fn is_privileged(namespace: &str) -> bool {
    namespace == OWN || namespace.starts_with("kube-")
}
