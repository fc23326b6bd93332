//! What each principal takes of what all share, so that one that takes too much is refused and no other notices.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::{ByteBudget, Share};
use crate::{audit::wal::Usage, config::PerPrincipal};

/// What may come at once, in seconds of the allowed rate.
const BURST: f64 = 10.0;

/// From here on the fuller the log, the less each principal may write; at the end, where intents are refused,
/// nothing. So one that writes as fast as it may slows down on its way there, long before those that write little.
const PRESSURE_BEGINS: f64 = 0.70;
const PRESSURE_ENDS: f64 = 0.95;

/// The principals of one tenant may have one part in so many of all room together: names are cheap to make.
const TENANTS_HAVE_ONE_IN: u64 = 2;

/// Principals are forgotten once they owe nothing, and looked through when there are this many.
const FIRST_SWEEP: usize = 1024;

pub(super) struct Principals {
    limits: PerPrincipal,
    buffered_bytes: u64,
    budget: ByteBudget,
    known: Mutex<Known>,
}

struct Known {
    by_name: HashMap<String, Arc<Principal>>,
    budgets_of_tenants: HashMap<String, ByteBudget>,
    sweep_at: usize,
}

/// One user of the API server.
pub(super) struct Principal {
    /// Absent where it is a tenant of its own.
    tenant: Option<String>,
    pub(super) buffered: Share,
    calls: Arc<Semaphore>,
    allowance: Mutex<Allowance>,
}

/// One call of a principal, counted until dropped.
pub(super) struct Admission {
    pub(super) principal: Arc<Principal>,
    _call: OwnedSemaphorePermit,
}

/// A principal has taken its part, and is refused until it has given something back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum OverQuota {
    #[error(
        "this user has {most} calls open already, watches and terminals included, and may have no more \
         (limits.perPrincipal.calls): close some first"
    )]
    Calls { most: u32 },
    #[error(
        "this user's calls have written more to the record than its share of {per_second} bytes a second \
         (limits.perPrincipal.recordBytesPerSecond): try again in {seconds} s, with fewer calls or smaller objects"
    )]
    Record { per_second: u64, seconds: u64 },
}

impl Principals {
    pub(super) fn new(limits: PerPrincipal, buffered_bytes: u64) -> Self {
        Self {
            limits,
            buffered_bytes,
            budget: ByteBudget::new(buffered_bytes),
            known: Mutex::new(Known {
                by_name: HashMap::new(),
                budgets_of_tenants: HashMap::new(),
                sweep_at: FIRST_SWEEP,
            }),
        }
    }

    /// Takes a call's place, unless the principal has taken its part already.
    pub(super) fn admit(
        &self,
        name: &str,
        tenant: Option<String>,
        log: &Usage,
    ) -> Result<Admission, OverQuota> {
        let principal = self.principal(name, tenant);
        let rate = self.limits.record_bytes_per_second.0 as f64 * pressure(log);
        let wait = principal.allowance().wait(rate, Instant::now());
        if let Some(wait) = wait {
            return Err(OverQuota::Record {
                per_second: rate as u64,
                seconds: wait.as_secs().max(1),
            });
        }
        let call = Arc::clone(&principal.calls).try_acquire_owned();
        let most = self.limits.calls;
        Ok(Admission {
            _call: call.map_err(|_| OverQuota::Calls { most })?,
            principal,
        })
    }

    fn principal(&self, name: &str, tenant: Option<String>) -> Arc<Principal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(principal) = known.by_name.get(name) {
            return Arc::clone(principal);
        }
        known.sweep();
        let whole = self.buffered_bytes;
        let of_tenant = match &tenant {
            None => ByteBudget::new(whole),
            Some(tenant) => {
                let most = whole / TENANTS_HAVE_ONE_IN;
                known.budget_of(tenant, most.max(self.limits.buffered_bytes.0))
            }
        };
        let principal = Arc::new(self.unknown(tenant, &of_tenant));
        known
            .by_name
            .insert(name.to_owned(), Arc::clone(&principal));
        principal
    }

    fn unknown(&self, tenant: Option<String>, of_tenant: &ByteBudget) -> Principal {
        let most = self.limits.buffered_bytes.0;
        Principal {
            tenant,
            buffered: self.budget.share(most, of_tenant),
            calls: Arc::new(Semaphore::new(self.limits.calls as usize)),
            allowance: Mutex::new(Allowance::full(Instant::now())),
        }
    }
}

impl Known {
    fn budget_of(&mut self, name: &str, most: u64) -> ByteBudget {
        let new = || ByteBudget::new(most);
        self.budgets_of_tenants
            .entry(name.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// In all, a principal is looked at about twice.
    fn sweep(&mut self) {
        if self.by_name.len() < self.sweep_at {
            return;
        }
        let now = Instant::now();
        self.by_name.retain(|_, principal| {
            Arc::strong_count(principal) > 1 || !principal.allowance().is_settled(now)
        });
        let kept = self
            .by_name
            .values()
            .filter_map(|principal| principal.tenant.as_ref());
        let kept: HashSet<&String> = kept.collect();
        self.budgets_of_tenants
            .retain(|name, _| kept.contains(name));
        self.sweep_at = FIRST_SWEEP.max(2 * self.by_name.len());
    }
}

impl Principal {
    /// A record of one of its calls was appended.
    pub(super) fn wrote(&self, bytes: u64) {
        self.allowance().spent += bytes as f64;
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bucket that leaks at the allowed rate. Records are counted once they are written, since only then is it known
/// what they take; so it overflows by what is in flight, and calls wait for it afterwards.
#[derive(Debug)]
struct Allowance {
    /// In bytes.
    spent: f64,
    at: Instant,
    rate: f64,
}

impl Allowance {
    fn full(now: Instant) -> Self {
        Self {
            spent: 0.0,
            at: now,
            rate: 0.0,
        }
    }

    /// How long to wait where more is spent than may be.
    fn wait(&mut self, rate: f64, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        // At the rate that was in force meanwhile.
        self.spent = (self.spent - passed * self.rate).max(0.0);
        (self.at, self.rate) = (now, rate);
        let over = self.spent - rate * BURST;
        (over > 0.0 || rate <= 0.0).then(|| {
            let seconds = (over / rate.max(1.0)).ceil().clamp(1.0, 60.0);
            Duration::from_secs_f64(seconds)
        })
    }

    fn is_settled(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.spent <= passed * self.rate
    }
}

/// What is left of each principal's rate, from 1 down to 0.
fn pressure(log: &Usage) -> f64 {
    let used = log.used as f64 / (log.limit.max(1)) as f64;
    ((PRESSURE_ENDS - used) / (PRESSURE_ENDS - PRESSURE_BEGINS)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
