//! provider server (being written).
