//! A gateway and a controller whose clocks are apart: by their certificates' dates they know each other, or say why not.

use super::*;

const MINUTE: i64 = 60;
/// Of what `sallyport ca control` makes.
const LIFETIME: i64 = 731 * 24 * 60 * MINUTE;
/// What is left of it here.
const LEFT: i64 = 30 * MINUTE;

struct Clocks {
    site: Site,
    gateway: Gateway,
    evidence: Evidence,
    alice: String,
}

impl Clocks {
    /// All are right.
    fn new() -> Result<Self> {
        let site = Site::new()?;
        let directory = site.directory.path().join("control");
        let directory = directory.display().to_string();
        let made = ["ca", "control", "--directory", &directory];
        let long_ago = LEFT - LIFETIME;
        let person = Sallyport::with_kubeconfig(&site.cluster.kubeconfig)?;
        person.run_with_clock(&made, long_ago)?.success()?;

        let gateway = Gateway::start(&serving(&site)?.with_clock(0))?;
        let at = ("addresses", json!([gateway.control()]));
        let evidence = Evidence::by_clock(&site, at, None, Some(0))?;
        let alice = site.person("alice")?;
        let streams =
            json!([{"apiGroups": ["sallyport.dev"], "resources": ["streams"], "verbs": ["list"]}]);
        site.namespace.grant(&site.username("alice"), &streams)?;
        Ok(Self {
            site,
            gateway,
            evidence,
            alice,
        })
    }

    /// A read that the gateway is asked to record.
    fn read(&self) -> Result<Response> {
        let streams = format!("/v1/streams?namespace={}", self.site.namespace.name);
        self.evidence.get(&self.alice, &streams)
    }

    fn set(&self, gateway: i64, controller: i64) -> Result<()> {
        self.gateway.set_clock(gateway)?;
        self.evidence.controller.set_clock(controller)
    }

    fn refused(&self) -> Result<String> {
        let refused = self.read()?.refusal(503)?;
        Ok(text(&refused["message"], "message")?.to_owned())
    }
}

#[test]
fn clocks_that_are_minutes_apart_change_nothing() -> Result<()> {
    let clocks = Clocks::new()?;
    for (gateway, controller) in [(0, 0), (5, 0), (-5, 0), (0, 5), (0, -5), (5, -5)] {
        clocks.set(gateway * MINUTE, controller * MINUTE)?;
        let read = clocks.read()?;
        assert_eq!(read.status, 200, "{gateway} {controller}: {}", read.text());
    }
    Ok(())
}

#[test]
fn clock_outside_of_the_certificates_dates_is_refused_and_the_refusal_says_so() -> Result<()> {
    let clocks = Clocks::new()?;
    let late = LEFT + 10 * MINUTE;
    clocks.set(0, late)?;
    let said = clocks.refused()?;
    assert!(
        said.contains("certificate expired") && said.contains("check the clocks"),
        "{said}"
    );

    clocks.set(late, 0)?;
    let said = clocks.refused()?;
    assert!(
        said.contains("CertificateExpired") && said.contains("check the clocks"),
        "{said}"
    );
    clocks.gateway.wait_for_log("the dates", |line| {
        let line = line["fields"].to_string();
        line.contains("certificate expired") && line.contains("check the clocks")
    })?;

    clocks.set(0, 0)?;
    assert_eq!(clocks.read()?.status, 200);
    Ok(())
}
