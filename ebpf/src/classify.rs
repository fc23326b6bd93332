//! Which pod a task belongs to, and whether that makes its connections ours.
//!
//! A pod's cgroup lies one level below `kubepods` (QoS class Guaranteed) or two. Whatever its containers make
//! below that has the same ancestors, so nested cgroups need no thought.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie},
    programs::SockAddrContext,
};
use sallyport_common::{Counter, MAX_KUBEPODS_LEVEL, PodState, Settings, Unclassified};

use crate::maps;

/// Whether the current task's connection to a destination is to be redirected; counts it for its pod.
///
/// Only a pod that is known to be no agent passes, the node's own network namespace, and, where the
/// settings say so, a pod that nobody has classified yet.
#[inline(always)]
pub(crate) fn is_agent(ctx: &SockAddrContext) -> bool {
    let Some(settings) = maps::settings() else {
        return true;
    };
    if netns_cookie(ctx) == settings.host_netns {
        return false;
    }
    match count_and_look_up(settings) {
        Some(state) => state.is_agent(),
        None => is_unclassified_taken_for_agent(settings),
    }
}

/// Counts a connection for the current task's pod where the decision does not hang on which one it is.
#[inline(always)]
pub(crate) fn count_connection_of_pod() {
    if let Some(settings) = maps::settings() {
        count_and_look_up(settings);
    }
}

#[inline(always)]
fn count_and_look_up(settings: &Settings) -> Option<PodState> {
    let level = level_of(settings.kubepods)?;
    let upper = ancestor(level + 1);
    if let Some(state) = maps::pod(upper) {
        maps::count_api_connection(upper);
        return Some(state);
    }
    let lower = ancestor(level + 2);
    let state = maps::pod(lower);
    maps::count_api_connection(lower);
    if state.is_none() {
        maps::count_api_connection(upper);
    }
    state
}

/// How deep `cgroup` lies, if the current task is below it.
#[inline(always)]
fn level_of(cgroup: u64) -> Option<u32> {
    for level in 0..MAX_KUBEPODS_LEVEL {
        if ancestor(level) == cgroup {
            return Some(level);
        }
    }
    None
}

#[inline(always)]
fn is_unclassified_taken_for_agent(settings: &Settings) -> bool {
    if settings.unclassified != Unclassified::Pass as u32 {
        return true;
    }
    maps::count(Counter::PassedUnclassified);
    false
}

/// The inode number of the current task's cgroup at a level below the root; 0, which is nobody's, where the
/// task is not that deep.
#[inline(always)]
fn ancestor(level: u32) -> u64 {
    // SAFETY: the helper takes any number and is available to this program type.
    unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) }
}

/// The network namespace of the socket, not of the task.
#[inline(always)]
pub(crate) fn netns_cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper is available to this program type and reads the context's socket.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}
