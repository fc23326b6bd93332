//! What is compared: a call of one kind of pod, and what is in its way.

use crate::{cgroups::Pod, client::Call, network::Family};

/// What a call meets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Way {
    Bare,
    Hooks,
    Nftables,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Act {
    /// To a destination.
    ConnectToApi,
    ConnectElsewhere,
    Bind,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Side {
    pub(crate) pod: Pod,
    pub(crate) way: Way,
    act: Act,
}

const fn side(pod: Pod, way: Way, act: Act) -> Side {
    Side { pod, way, act }
}

pub(crate) const ORDINARY_BARE: Side = side(Pod::Ordinary, Way::Bare, Act::ConnectToApi);
pub(crate) const ORDINARY_MISS: Side = side(Pod::Ordinary, Way::Hooks, Act::ConnectElsewhere);
pub(crate) const ORDINARY_HIT: Side = side(Pod::Ordinary, Way::Hooks, Act::ConnectToApi);
pub(crate) const AGENT_BARE: Side = side(Pod::Agent, Way::Bare, Act::ConnectToApi);
pub(crate) const AGENT_MISS: Side = side(Pod::Agent, Way::Hooks, Act::ConnectElsewhere);
pub(crate) const AGENT_REDIRECTED: Side = side(Pod::Agent, Way::Hooks, Act::ConnectToApi);
pub(crate) const AGENT_NFTABLES: Side = side(Pod::Agent, Way::Nftables, Act::ConnectToApi);
pub(crate) const BIND_BARE: Side = side(Pod::Agent, Way::Bare, Act::Bind);
pub(crate) const BIND_HOOKED: Side = side(Pod::Agent, Way::Hooks, Act::Bind);

/// In an order in which what is in the way changes least.
pub(crate) const SIDES: [Side; 9] = [
    ORDINARY_BARE,
    BIND_BARE,
    AGENT_BARE,
    AGENT_NFTABLES,
    AGENT_REDIRECTED,
    AGENT_MISS,
    BIND_HOOKED,
    ORDINARY_HIT,
    ORDINARY_MISS,
];

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match (self.way, self.act, self.pod) {
            (Way::Bare, ..) => "no hooks",
            (Way::Nftables, ..) => "nftables redirect",
            (_, Act::Bind, _) => "bind, agent pod",
            (_, Act::ConnectToApi, Pod::Agent) => "connect, agent pod, redirected",
            (_, Act::ConnectElsewhere, Pod::Agent) => "connect, agent pod, miss",
            (_, Act::ConnectToApi, Pod::Ordinary) => "connect, other pod, hit that passes",
            (_, Act::ConnectElsewhere, Pod::Ordinary) => "connect, other pod, miss",
        }
    }

    pub(crate) fn call(self, family: Family) -> Call {
        let to = match self.act {
            Act::ConnectToApi => family.api(),
            Act::ConnectElsewhere => family.elsewhere(),
            Act::Bind => {
                return Call::Bind {
                    address: family.any_port(),
                };
            }
        };
        let lands_on = if self.is_redirected() {
            family.gateway()
        } else {
            to
        };
        Call::Connect { to, lands_on }
    }

    fn is_redirected(self) -> bool {
        let redirects = self.way != Way::Bare && self.pod == Pod::Agent;
        redirects && self.act == Act::ConnectToApi
    }
}
