//! sandbox cloud (being written).
