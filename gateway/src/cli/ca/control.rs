//! Certificates between the controller and the gateways, and between people and the controller.
//!
//! Their authority is another than agents trust, and its key is forgotten once both are signed: nobody can be a gateway
//! or a controller by a certificate that was made later. New ones are made together.

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::{ISSUER_DAYS, authority, dns_name, write};

const CA: &str = "ca.crt";
/// Gateways take the controller's certificate for this name, and show one for the other.
const CONTROLLER: (&str, &str) = ("controller", "controller.sallyport.dev");
const GATEWAY: (&str, &str) = ("gateway", "gateway.sallyport.dev");

pub(super) const HELP: &str = "\
Example:
  sallyport ca control --directory control --name evidence.prod.example

They are good for two years. To renew them, make them anew in another directory and replace all that is printed: while \
the controller and a gateway have different ones, that gateway cannot be asked and no agent notices.";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// Where the files are; made if missing.
    #[arg(long)]
    directory: PathBuf,
    /// Another name under which people reach the controller with --server.
    #[arg(long, value_name = "DNS-NAME")]
    name: Vec<String>,
}

pub(super) fn create(args: &Args) -> anyhow::Result<()> {
    let directory = &args.directory;
    ensure!(
        !directory.join(CA).exists(),
        "{} exists; choose another directory",
        directory.join(CA).display()
    );
    let mut names = vec![CONTROLLER.1.to_owned()];
    for name in &args.name {
        names.push(dns_name(name)?.to_owned());
    }
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let mut params = authority("sallyport control CA", ISSUER_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate()?;
    write(directory, CA, &params.self_signed(&key)?.pem(), 0o644)?;
    let issuer = Issuer::new(params, key);
    let (server, client) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    for (file, names, usages) in [
        (CONTROLLER.0, names, vec![server.clone(), client]),
        (GATEWAY.0, vec![GATEWAY.1.to_owned()], vec![server]),
    ] {
        let (certificate, key) = leaf(&issuer, &names, usages)?;
        write(directory, &format!("{file}.key"), &key, 0o600)?;
        write(directory, &format!("{file}.crt"), &certificate, 0o644)?;
    }
    println!("{}", next(args));
    Ok(())
}

/// A certificate and its key, PEM.
fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    usages: Vec<ExtendedKeyUsagePurpose>,
) -> anyhow::Result<(String, String)> {
    let mut params = authority("", ISSUER_DAYS)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, names[0].as_str());
    params.subject_alt_names = names
        .iter()
        .map(|name| Ok(rcgen::SanType::DnsName(name.as_str().try_into()?)))
        .collect::<anyhow::Result<_>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn next(args: &Args) -> String {
    let directory = args.directory.display();
    let secret = |name: &str, file: &str| {
        format!(
            "  kubectl -n sallyport-system create secret generic {name} --from-file=ca.crt={directory}/{CA} \\\n    \
             --from-file=tls.crt={directory}/{file}.crt --from-file=tls.key={directory}/{file}.key"
        )
    };
    format!(
        "wrote to {directory} the certificates of the controller and of the gateways, for two years.\n\n\
         1. Give each its own, and people what vouches for the controller:\n\n{}\n{}\n  \
         kubectl -n sallyport-system create configmap sallyport-evidence-ca --from-file=ca.crt={directory}/{CA}\n\n\
         2. Delete the keys here; nothing else needs them:\n\n  rm {directory}/*.key\n\n\
         3. Configure `control` in gateway.yaml and `evidence` in controller.yaml, as \
         deploy/install/examples/evidence.yaml shows.",
        secret("sallyport-controller-tls", CONTROLLER.0),
        secret("sallyport-gateway-control", GATEWAY.0),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::tls;

    fn made(names: &[&str]) -> (tempfile::TempDir, anyhow::Result<()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let args = Args {
            directory: directory.path().join("control"),
            name: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let outcome = create(&args);
        (directory, outcome)
    }

    #[test]
    fn the_controller_can_come_with_its_own_and_keys_are_their_owners_alone() {
        let (directory, outcome) = made(&["evidence.prod.example"]);
        outcome.expect("it is made");
        let at = |name: &str| directory.path().join("control").join(name);
        tls::client_with_certificate(&at(CA), &at("controller.crt"), &at("controller.key"))
            .expect("a client");
        tls::client_with_certificate(&at(CA), &at("gateway.crt"), &at("controller.key"))
            .expect_err("not a pair");
        for key in ["controller.key", "gateway.key"] {
            let mode = fs::metadata(at(key)).expect("a key").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let again = Args {
            directory: directory.path().join("control"),
            name: Vec::new(),
        };
        create(&again).expect_err("nothing is overwritten");
    }

    #[test]
    fn a_name_that_is_none_is_refused_before_anything_is_written() {
        let (directory, outcome) = made(&["https://evidence.example"]);
        outcome.expect_err("no DNS name");
        assert!(!directory.path().join("control").exists());
    }
}
