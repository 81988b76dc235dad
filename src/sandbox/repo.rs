//! sandbox repo (being written).
