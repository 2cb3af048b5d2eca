#![doc = include_str!("README.md")]

pub mod base;

pub mod state;

pub mod machinery;

pub mod product;

pub mod edges;

pub mod daemon;
