//! One entry of a layer, and its bytes in a tar.
