//! Decisions: which target a request goes to, whether a target is fit, when to try again. Time and stores are passed in.

pub mod health;
pub mod retry;
pub mod route;
