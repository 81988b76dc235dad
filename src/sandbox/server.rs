//! sandbox server (being written).
