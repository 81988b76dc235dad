//! provider cloud (being written).
