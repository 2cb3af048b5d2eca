//! Clones and fetches by the real client.
