//! provider repo (being written).
