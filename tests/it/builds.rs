//! Builds in real sandboxes of the real engine: every fixture of every buildpack, what a second build reuses, and that
//! equal trees give equal images.

mod bounded;
mod brought;
mod fetched;
mod fixtures;
mod hosts;
mod lab;
mod languages;
mod mirrors;
mod rebuilds;
mod running;
mod trouble;

pub use brought::image_of;
pub use hosts::Goods;
pub use lab::{App, Tree, lab_dir};
