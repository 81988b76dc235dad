//! provider store (being written).
