//! The node agent: finds agents' pods, and keeps each one's way to the API server leading to the gateway.

mod destinations;
mod snapshot;
