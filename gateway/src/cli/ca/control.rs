//! `sallyport ca control`: the certificates by which the controller and the gateways know each other.
//!
//! Their CA vouches for these two names and is used up with that: its key is never written, so nobody can ever make a
//! certificate that the gateways' control API takes, and no other CA counts there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{ISSUER_DAYS, ROOT_CERTIFICATE, authority, write};
use crate::{
    cli::output::say,
    tls::{CONTROLLER, GATEWAY},
};

pub(super) const HELP: &str = "\
Example:
  sallyport ca control --directory control

It makes one for gateways and one for the controller, which shows its own to gateways and to people. The CA's key is thrown away: before the two years are over, make others in another directory and replace both
Secrets and the ConfigMap. Gateways and controllers read them again; between the one and the other they do not know each
other, and nobody reads evidence.";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// Where the files go; made, and refused if it exists.
    #[arg(long)]
    directory: PathBuf,
}

const CERTIFICATE_DAYS: u32 = ISSUER_DAYS;

pub(super) fn create(args: &Args) -> anyhow::Result<()> {
    let directory = &args.directory;
    ensure!(
        !directory.exists(),
        "{} exists; choose another directory",
        directory.display()
    );
    let key = KeyPair::generate()?;
    let mut ca = authority("sallyport control CA", CERTIFICATE_DAYS)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let certificate = ca.self_signed(&key)?.pem();
    let issuer = Issuer::new(ca, key);
    let both = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    for (role, name, usages) in [
        ("gateway", GATEWAY, both[..1].to_vec()),
        ("controller", CONTROLLER, both),
    ] {
        let (leaf, leaf_key) = leaf(name, usages, &issuer)?;
        write(directory, &format!("{role}.key"), &leaf_key, 0o600)?;
        write(directory, &format!("{role}.crt"), &leaf, 0o644)?;
    }
    write(directory, ROOT_CERTIFICATE, &certificate, 0o644)?;
    say!("{}", next(directory));
    Ok(())
}

/// A certificate and its key, PEM.
fn leaf(
    name: &str,
    usages: Vec<ExtendedKeyUsagePurpose>,
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<(String, String)> {
    let dates = authority(name, CERTIFICATE_DAYS)?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.not_before = dates.not_before;
    params.not_after = dates.not_after;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = usages;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn next(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "wrote to {directory}, for two years
  gateway.crt     what gateways show, with gateway.key
  controller.crt  what the controller shows, with controller.key
  ca.crt          by which they know each other; its key is nowhere

Make a Secret of each, and show people the CA; then take the directory away:

  kubectl -n sallyport-system create secret generic sallyport-gateway-control \\
    --from-file=ca.crt={directory}/ca.crt --from-file=tls.crt={directory}/gateway.crt \\
    --from-file=tls.key={directory}/gateway.key
  kubectl -n sallyport-system create secret generic sallyport-controller-tls \\
    --from-file=ca.crt={directory}/ca.crt --from-file=tls.crt={directory}/controller.crt \\
    --from-file=tls.key={directory}/controller.key
  kubectl -n sallyport-system create configmap sallyport-evidence-ca --from-file={directory}/ca.crt"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};

    use super::*;
    use crate::{config::Tls, tls::ClientCertificates};

    #[test]
    fn a_gateway_takes_its_own_and_nobody_can_make_a_third() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("control");
        let args = Args { directory };
        create(&args).unwrap();
        let path = |name: &str| args.directory.join(name);
        let tls = Tls::Files {
            cert_file: path("gateway.crt"),
            key_file: path("gateway.key"),
        };
        ClientCertificates::load(&tls, GATEWAY, &path("ca.crt"), CONTROLLER).unwrap();

        let read = |name: &str| CertificateDer::from_pem_file(path(name)).unwrap();
        let ca = read("ca.crt");
        let (_, ca) = X509Certificate::from_der(&ca).unwrap();
        for role in ["gateway", "controller"] {
            let own = read(&format!("{role}.crt"));
            let (_, own) = X509Certificate::from_der(&own).unwrap();
            assert_eq!(own.issuer(), ca.subject());
            let usage = own.extended_key_usage().unwrap().unwrap().value;
            assert_eq!(usage.client_auth, role == "controller");
            let key = path(&format!("{role}.key"));
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let key = KeyPair::from_pem(&fs::read_to_string(key).unwrap()).unwrap();
            assert_ne!(
                key.public_key_raw(),
                &*ca.public_key().subject_public_key.data
            );
        }
        assert!(create(&args).is_err(), "it writes over what is there");
    }
}
