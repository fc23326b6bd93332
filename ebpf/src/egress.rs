//! Packets that leave agent pods: what the connect hooks do not see, or saw too early, is dropped here. That is
//! raw sockets, unconnected datagrams, and connections that were made before the pod was an agent.
//!
//! A packet to an address that is not guarded costs one look into a map. To a guarded one it passes only if its
//! port can be read and is not guarded. So it is dropped where it is a fragment behind the first, or one too
//! short for its ports; where its port lies behind a header that is unknown, encrypted or authenticated, or
//! behind more headers than are followed; and where it carries a protocol without ports.
//!
//! ICMP alone lives without a port: no server takes requests by it, and without it path MTU discovery and
//! neighbour discovery would break for ports that are not guarded. A tunnel (GRE, IP in IP) does not.
//!
//! The kernel runs this before it cuts a datagram into fragments, so a fragment here was made by hand. A
//! v4-mapped address never stands in a packet; should it, it is compared as the IPv4 address that it names.

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};
use sallyport_common::{Counter, Destination, v4_mapped};

use crate::{maps, report};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// What the kernel expects.
const PASS: i32 = 1;
const DROP: i32 = 0;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMP_V6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// A sender needs two or three at most; each of the four kinds may come once, and one of them twice (RFC 8200).
const MOST_EXTENSION_HEADERS: usize = 6;

const LEAST_V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// The packet may not leave.
struct Refused;

#[cgroup_skb(egress)]
pub(crate) fn agent_egress(ctx: SkBuffContext) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let protocol = unsafe { (&raw const (*ctx.skb.skb).protocol).read_volatile() };
    match u16::from_be(protocol as u16) {
        ETH_P_IP => v4(&ctx),
        ETH_P_IPV6 => v6(&ctx),
        // The kernel calls for no other.
        _ => DROP,
    }
}

#[inline(always)]
fn v4(ctx: &SkBuffContext) -> i32 {
    let Ok(address) = load::<u32>(ctx, 16).map(v4_mapped) else {
        return DROP;
    };
    if !maps::is_guarded_address(&address) {
        return PASS;
    }
    verdict(ctx, &address, try_v4(ctx, &address))
}

#[inline(always)]
fn v6(ctx: &SkBuffContext) -> i32 {
    let Ok(address) = load::<[u32; 4]>(ctx, 24) else {
        return DROP;
    };
    if !maps::is_guarded_address(&address) {
        return PASS;
    }
    verdict(ctx, &address, try_v6(ctx, &address))
}

#[inline(always)]
fn verdict(ctx: &SkBuffContext, address: &[u32; 4], outcome: Result<(), Refused>) -> i32 {
    if outcome.is_ok() {
        return PASS;
    }
    maps::count(Counter::DroppedPacket);
    report::dropped(ctx, address);
    DROP
}

#[inline(always)]
fn try_v4(ctx: &SkBuffContext, address: &[u32; 4]) -> Result<(), Refused> {
    const OFFSET_BITS: u16 = 0x1fff;
    let header = usize::from(load::<u8>(ctx, 0)? & 0x0f) * 4;
    let fragment = u16::from_be(load(ctx, 6)?);
    if header < LEAST_V4_HEADER || fragment & OFFSET_BITS != 0 {
        return Err(Refused);
    }
    try_payload(ctx, address, load(ctx, 9)?, header)
}

#[inline(always)]
fn try_v6(ctx: &SkBuffContext, address: &[u32; 4]) -> Result<(), Refused> {
    let mut next: u8 = load(ctx, 6)?;
    let mut offset = V6_HEADER;
    for _ in 0..MOST_EXTENSION_HEADERS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let [following, length] = load::<[u8; 2]>(ctx, offset)?;
                next = following;
                offset += (usize::from(length) + 1) * 8;
            }
            FRAGMENT => {
                const OFFSET_BITS: u16 = 0xfff8;
                let fragment = u16::from_be(load(ctx, offset + 2)?);
                if fragment & OFFSET_BITS != 0 {
                    return Err(Refused);
                }
                next = load(ctx, offset)?;
                offset += 8;
            }
            _ => return try_payload(ctx, address, next, offset),
        }
    }
    Err(Refused)
}

/// Behind the headers. All protocols with ports have the destination's in the third and fourth byte.
#[inline(always)]
fn try_payload(
    ctx: &SkBuffContext,
    address: &[u32; 4],
    protocol: u8,
    offset: usize,
) -> Result<(), Refused> {
    match protocol {
        ICMP | ICMP_V6 => Ok(()),
        TCP | UDP | DCCP | SCTP | UDP_LITE => {
            let destination = Destination::v6(*address, load(ctx, offset + 2)?);
            if maps::is_guarded_port(&destination) {
                Err(Refused)
            } else {
                Ok(())
            }
        }
        _ => Err(Refused),
    }
}

#[inline(always)]
fn load<T>(ctx: &SkBuffContext, offset: usize) -> Result<T, Refused> {
    ctx.load(offset).map_err(|_| Refused)
}
