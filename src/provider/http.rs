//! provider http (being written).
