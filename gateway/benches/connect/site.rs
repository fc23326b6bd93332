//! Where all sides are measured. Dropping it leaves nothing behind.

use std::path::Path;

use anyhow::Result;
use sallyport::redirect::BPFFS;

use crate::{
    cgroups::Cgroups,
    client::{Client, Order, Turn},
    hooks::Hooks,
    namespace,
    network::Family,
    nftables::Rule,
    run_time::{self, RunTimes},
    side::{Side, Way},
};

/// Its parts go in this order.
pub(crate) struct Site {
    client: Client,
    rule: Option<Rule>,
    hooks: Hooks,
    cgroups: Cgroups,
    way: Way,
}

impl Site {
    pub(crate) fn open() -> Result<Self> {
        let host_netns = namespace::enter()?;
        let client = Client::start()?;
        let cgroups = Cgroups::make()?;
        let pins = Path::new(BPFFS).join("sallyport");
        Ok(Self {
            client,
            rule: None,
            hooks: Hooks::load(&cgroups, pins, host_netns)?,
            cgroups,
            way: Way::Bare,
        })
    }

    pub(crate) fn take_turn(&mut self, side: Side, family: Family) -> Result<Turn> {
        self.clear(side.way)?;
        self.client.take_turn(&Order {
            cgroup: self.cgroups.container(side.pod),
            call: side.call(family),
        })
    }

    /// The same while the kernel counts what the programs take.
    pub(crate) fn take_counted_turn(
        &mut self,
        side: Side,
        family: Family,
    ) -> Result<(Turn, RunTimes)> {
        self.clear(side.way)?;
        let pins = self.hooks.pins().to_owned();
        run_time::during(&pins, || self.take_turn(side, family))
    }

    /// Takes away what is in the way but not on this one, and puts there what is missing.
    fn clear(&mut self, way: Way) -> Result<()> {
        if self.way == way {
            return Ok(());
        }
        self.rule = None;
        if self.way == Way::Hooks {
            self.hooks.detach()?;
        }
        match way {
            Way::Bare => {}
            Way::Nftables => self.rule = Some(Rule::add()?),
            Way::Hooks => self.hooks.attach()?,
        }
        self.way = way;
        Ok(())
    }
}
