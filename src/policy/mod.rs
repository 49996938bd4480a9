//! Decisions: which target a request goes to. Time and stores are passed in.

pub mod route;
