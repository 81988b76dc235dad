//! sandbox laptop (being written).
