//! Bytes waiting to be put in order.
