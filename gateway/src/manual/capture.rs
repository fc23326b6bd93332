//! # Capture
