//! sandbox store (being written).
