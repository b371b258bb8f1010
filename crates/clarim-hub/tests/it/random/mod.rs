//! Random actions beside a model.

mod actions;
mod model;
mod pages;
