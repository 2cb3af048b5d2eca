//! Composition root: config → store → engines → jobs → converge → listeners → drain.
