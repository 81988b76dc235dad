//! sandbox gateway (being written).
